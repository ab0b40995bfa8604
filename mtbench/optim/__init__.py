"""The contract of a multitask optimizer, what methods are made of, and the kit that checks one."""
