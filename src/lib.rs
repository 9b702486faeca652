//! memcarp: a memcached-compatible cache server.
