"""What decides an answer, a module for each kind of answer. The table in `lab.exercises.table` names them."""
