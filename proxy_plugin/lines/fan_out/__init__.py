"""Lines that ask for several answers, where the lane gives one: each is asked for, and one row is made of them."""
