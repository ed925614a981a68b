"""Who is who: the people, the hosts and the parts of the lab, with the names that they have everywhere."""

CUSTOMER = "alice"
MALLORY = "mallory"
OTHER_CUSTOMERS = ("bob", "carol")
OPENING_BALANCE = 1000
"""What a customer has at the bank at first, if nothing else is said."""

SERVER_NAME = "bank.example"
SERVER_NAMES = (SERVER_NAME, "victim-server", "localhost")
NEWCOMERS_NAME = "newcomers.bank.example"
"""Another name of the bank's, for those who have no account yet. There any certificate will do, made by anybody."""
SHOP_NAME = "shop.example"
SHOP_NAMES = (SHOP_NAME, "rogue-server", "localhost")

AUTHORITY = "authority"
LAB = "lab"
ATTACKER = "attacker"
VICTIM_CLIENT = "victim-client"
VICTIM_SERVER = "victim-server"
CAREFUL_CLIENT, CARELESS_CLIENT = "careful-client", "careless-client"
INTERCEPTOR = "interceptor"
CONTROL = "control"
TRIPLE_HANDSHAKE = "triple-handshake"

BY_REQUEST = ", by request"
"""What the name of alice's login ends with if her certificate was issued on request."""
