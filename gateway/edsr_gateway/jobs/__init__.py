"""Long work: jobs that outlive the request that brought them, and the gateway that works on them."""
