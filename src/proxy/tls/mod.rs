//! TLS with a proxy service: who we are, whom we trust.
