"""The texts of `barkeep init`. Each function gets an init.Place and returns a whole file, whose first lines say where it belongs
and how to start it. Tested with the programs they are for: nginx -t, systemd-analyze verify, supervisord's parser, a YAML parser.
"""
import json
import re
import shlex

STOP_SECONDS = 30  # --graceful-timeout is 25


def systemd(place):
    words = place.words("--bind", f"unix:{place.socket}", "--workers", "auto")
    return f"""
# {place.name}.service: put it into /etc/systemd/system/, then
#   systemctl daemon-reload && systemctl enable --now {place.name}
# Reload without losing a request: systemctl reload {place.name}. Log: journalctl -u {place.name}
# More, socket units for one: docs/deployment.md. The proxy reaches {place.socket} by its group, {place.group}.

[Unit]
Description={place.name}, served by Barkeep
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
User={place.user}
Group={place.group}
WorkingDirectory={for_systemd(place.directory)}
RuntimeDirectory={place.name}
ExecStart={' '.join(map(for_systemd_word, [place.command, *words]))}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
WatchdogSec=30
Restart=on-failure
# a mistake in the settings does not go away by itself
RestartPreventExitStatus=2
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectControlGroups=yes

[Install]
WantedBy=multi-user.target
"""


def for_systemd(text):
    return text.replace("%", "%%")


def for_systemd_word(text):
    text = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return text if re.fullmatch(r"[\w./:,=@%()+-]+", text) else f'"{text}"'


def nginx(place):
    upgrade = f"""
map $http_upgrade $connection_of_{variable(place.name)} {{
    default upgrade;
    ''      '';
}}
""" if place.interface != "WSGI" else ""
    headers = f"""        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_of_{variable(place.name)};
""" if upgrade else """        proxy_set_header Connection "";
"""
    return f"""
# {place.name}.conf: put it into /etc/nginx/conf.d/ (or sites-available/), then
#   nginx -t && nginx -s reload
# The socket belongs to group {place.group}; nginx's workers must be in it.

upstream {place.name} {{
    server unix:{place.socket};
    keepalive 32;
}}
{upgrade}
server {{
    listen 80;
    server_name example.org;
    client_max_body_size 100m;

    # location /static/ {{ alias {place.directory}/static/; expires 1h; }}

    location / {{
        proxy_pass http://{place.name};
        proxy_http_version 1.1;
{headers}        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-ID $request_id;
        proxy_read_timeout 75s;
    }}
}}
"""


def variable(name):
    return name.replace("-", "_")


def docker(place):
    words = ["barkeep", *place.words("--bind", "0.0.0.0:8000", "--workers", "auto", "--live-path", "/-/live")]
    if place.packages == "requirements.txt":
        install = f"COPY requirements.txt ./\nRUN pip install --no-cache-dir -r requirements.txt 'barkeep=={place.version}'\nCOPY . ."
    elif place.packages:
        install = f"COPY . .\nRUN pip install --no-cache-dir . 'barkeep=={place.version}'"
    else:
        install = f"RUN pip install --no-cache-dir 'barkeep=={place.version}'\nCOPY . ."
    check = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/-/live', timeout=3)"
    return f"""
# Dockerfile: docker build -t {place.name} . && docker run --rm -p 8000:8000 {place.name}
# `docker stop` kills after 10 s: docker stop -t {STOP_SECONDS}, or stop_grace_period: {STOP_SECONDS}s in a compose file.
# Behind a proxy in another container: --forwarded-allow-ips with its network.
FROM python:{place.python}-slim

WORKDIR /app
{install}

RUN useradd --system --no-create-home --shell /usr/sbin/nologin app
USER app

EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD {json.dumps(["python", "-c", check])}
CMD {json.dumps(words)}
"""


K8S = """
# @NAME@.yaml: kubectl apply -f @NAME@.yaml
# Endpoints are removed after a pod is told to stop: it goes on serving for 10 s, then finishes what runs.
# --workers auto obeys the CPU limit; --forwarded-allow-ips: the network of your ingress.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: @NAME@
  labels: {app: @NAME@}
spec:
  replicas: 2
  selector:
    matchLabels: {app: @NAME@}
  template:
    metadata:
      labels: {app: @NAME@}
    spec:
      terminationGracePeriodSeconds: @GRACE@
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        fsGroup: 1000
      containers:
        - name: web
          image: @NAME@:latest
          args: @ARGS@
          ports:
            - {name: http, containerPort: 8000}
          resources:
            requests: {cpu: 500m, memory: 256Mi}
            limits: {cpu: "2", memory: 1Gi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
          startupProbe:
            httpGet: {path: /-/live, port: http}
            periodSeconds: 2
            failureThreshold: 90
          readinessProbe:
            httpGet: {path: /-/live, port: http}
            periodSeconds: 5
          livenessProbe:
            httpGet: {path: /-/live, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
          lifecycle:
            preStop:
              exec: {command: ["sleep", "10"]}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {}
---
apiVersion: v1
kind: Service
metadata:
  name: @NAME@
spec:
  selector: {app: @NAME@}
  ports:
    - {name: http, port: 80, targetPort: http}
"""


def k8s(place):
    words = ["barkeep", *place.words("--bind", "0.0.0.0:8000", "--workers", "auto", "--live-path", "/-/live",
                                     "--forwarded-allow-ips", "10.0.0.0/8")]
    return K8S.replace("@NAME@", place.name).replace("@GRACE@", str(STOP_SECONDS + 15)).replace("@ARGS@", json.dumps(words))


def procfile(place):
    return f"""
web: barkeep{''.join(' ' + shlex.quote(word) for word in place.words())}
"""


def supervisor(place):
    words = place.words("--bind", "127.0.0.1:8000", "--workers", "auto")
    return f"""
; {place.name}.conf: put it into /etc/supervisor/conf.d/, then
;   supervisorctl reread && supervisorctl update
; Reload without losing a request: supervisorctl signal HUP {place.name}
[program:{place.name}]
command={' '.join(shlex.quote(word) for word in [place.command, *words]).replace('%', '%%')}
directory={place.directory.replace('%', '%%')}
user={place.user}
autostart=true
; exit code 2 is a mistake in the settings, which does not go away by itself
autorestart=unexpected
exitcodes=0,2
stopsignal=TERM
stopwaitsecs={STOP_SECONDS}
killasgroup=true
stdout_logfile=/var/log/{place.name}.log
redirect_stderr=true
"""


ALL = {"systemd": systemd, "docker": docker, "k8s": k8s, "nginx": nginx, "procfile": procfile, "supervisor": supervisor}
