//! A memcached client that spreads keys over many nodes by CARP.
