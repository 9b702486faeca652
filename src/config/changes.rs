//! What differs between two configurations, by the names of options. Decides nothing.

use super::Config;

impl Config {
    /// The long names of the options that `new` changes and that a running server cannot take over. Those without
    /// effect are left out, and so are the rules, `verbose`, `allow` and `metrics-allow`, which it can.
    pub fn fixed_changes(&self, new: &Config) -> Vec<&'static str> {
        // Every field is named, so that a new one is thought of here.
        let Config {
            tcp_port,
            udp_port,
            listen,
            allow: _,
            unix_socket,
            unix_mask,
            metrics,
            metrics_allow: _,
            daemon,
            pidfile,
            user,
            memory_limit,
            evictions,
            conn_limit,
            maxconns_fast,
            threads,
            item_max,
            verbosity: _,
            reqs_per_event,
            cas,
            backlog,
            protocol,
            prefix_delimiter,
            detail,
            shutdown_command,
            flush,
            dump,
            watch,
            auth_file,
            memory_file,
            lock_memory,
            coredumps,
            idle_timeout,
            track_sizes,
            watcher_logbuf,
            tls,
            rules: _,
            inert: _,
        } = self;
        let same = [
            ("port", *tcp_port == new.tcp_port),
            ("udp-port", *udp_port == new.udp_port),
            ("listen", *listen == new.listen),
            ("unix-socket", *unix_socket == new.unix_socket),
            ("unix-mask", *unix_mask == new.unix_mask),
            ("metrics-listen", *metrics == new.metrics),
            ("daemon", *daemon == new.daemon),
            ("pidfile", *pidfile == new.pidfile),
            ("user", *user == new.user),
            ("memory-limit", *memory_limit == new.memory_limit),
            ("disable-evictions", *evictions == new.evictions),
            ("conn-limit", *conn_limit == new.conn_limit),
            ("maxconns_fast", *maxconns_fast == new.maxconns_fast),
            ("threads", *threads == new.threads),
            ("max-item-size", *item_max == new.item_max),
            ("max-reqs-per-event", *reqs_per_event == new.reqs_per_event),
            ("disable-cas", *cas == new.cas),
            ("listen-backlog", *backlog == new.backlog),
            // A file of users settles the protocol too; one name is enough.
            ("protocol", *protocol == new.protocol || *auth_file != new.auth_file),
            ("prefix-delimiter", (*prefix_delimiter, *detail) == (new.prefix_delimiter, new.detail)),
            ("enable-shutdown", *shutdown_command == new.shutdown_command),
            ("disable-flush-all", *flush == new.flush),
            ("disable-dumping", *dump == new.dump),
            ("disable-watch", *watch == new.watch),
            ("auth-file", *auth_file == new.auth_file),
            ("memory-file", *memory_file == new.memory_file),
            ("lock-memory", *lock_memory == new.lock_memory),
            ("enable-coredumps", *coredumps == new.coredumps),
            ("idle_timeout", *idle_timeout == new.idle_timeout),
            ("track_sizes", *track_sizes == new.track_sizes),
            ("watcher_logbuf_size", *watcher_logbuf == new.watcher_logbuf),
            ("enable-ssl, ssl_*", *tls == new.tls),
        ];
        same.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect()
    }
}
