"""Names of Gunicorn's settings that options.def does not have, or that are called otherwise on its command line.

Those that are options here are in the table's column for Gunicorn; these are found among the names of other_names.def, which
are the command line's. Hooks stand here with the number of their arguments.
"""

# setting: its flag, where that is not the same; - and _ are one
FLAGS = {
    "preload_app": "preload",
    "pidfile": "pid",
    "raw_paste_global_conf": "paste-global",
    "dirty_apps": "dirty-app",
    "logconfig": "log_config",
    "logconfig_json": "log_config_json",
    "proxy_allow_ips": "proxy-allow-from",
    "uwsgi_allow_ips": "uwsgi-allow-from",
    "control_socket_disable": "no-control-socket",
}

SAME = """
    timeout max_requests max_requests_jitter spew daemon worker_tmp_dir user group umask initgroups paste capture_output
    logger_class enable_stdio_inheritance statsd_host statsd_prefix dogstatsd_tags enable_backlog_metric proxy_protocol protocol
    disable_redirect_access_to_syslog keyfile certfile ssl_version cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect
    ciphers http_protocols http2_cleartext http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size
    http2_max_header_list_size permit_obsolete_folding strip_header_spaces permit_unconventional_http_method
    permit_unconventional_http_version casefold_http_method asgi_disconnect_grace_period http_parser dirty_workers dirty_timeout
    dirty_threads dirty_graceful_timeout control_socket control_socket_mode check_config print_config config syslog syslog_addr
    """.split()

# In files only.
FILE_ONLY = ("wsgi_app", "default_proc_name", "logconfig_dict", "ssl_context")

MASTER_HOOKS = {"on_starting": 1, "when_ready": 1, "on_reload": 1, "pre_fork": 2, "nworkers_changed": 3, "child_exit": 2,
                "pre_exec": 1, "on_exit": 1}
WORKER_HOOKS = {"post_fork": 2, "post_worker_init": 1, "pre_request": 2, "post_request": 4, "worker_int": 1, "worker_abort": 1,
                "worker_exit": 2}
DIRTY_HOOKS = {"on_dirty_starting": 1, "dirty_post_fork": 2, "dirty_worker_init": 1, "dirty_worker_exit": 2}


def settings(table):
    """All names, hooks too."""
    return {*table.by_gunicorn, *FLAGS, *SAME, *FILE_ONLY, *MASTER_HOOKS, *WORKER_HOOKS, *DIRTY_HOOKS}


def flag(name):
    return FLAGS.get(name, name.replace("_", "-"))
