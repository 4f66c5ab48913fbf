"""Triton's own protocol (KServe v2), for programs that speak it: requests are proved sound, then passed on."""
