"""Steps that apply to every network: trace it, probe its precision, record reference answers, estimate sizes."""
