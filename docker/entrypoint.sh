#!/bin/sh
# As in memcached's image: options alone are memcached's, anything else is a command.
set -e
case "${1:-}" in
    -*) set -- memcached "$@" ;;
esac
exec "$@"
