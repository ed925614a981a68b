"""The teacher's side: a roster, handed-in work judged anew, receipts, an export to CTFd, many labs on one host."""
