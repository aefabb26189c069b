"""Network families that can be exported: what each must provide, and one folder for each."""
