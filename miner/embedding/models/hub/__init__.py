"""Models of the Hugging Face hub: loading them, code of their own, and processes that run them."""
