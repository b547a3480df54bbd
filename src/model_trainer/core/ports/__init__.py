"""What upper floors need from adapters, as Protocols. `infra/` implements them; `container.py` joins the two."""
