"""nginx and Caddy as real processes on loopback, each with the file that is shipped."""

import os
import ssl
import subprocess
from pathlib import Path

from tests.agent.certificates import Authority
from tests.deploy.shipped import HOST, program, replaced, text
from tests.ports import free_port, wait_for_port

CERTIFICATE = f"{HOST}-127.0.0.1-5"  # how the authority names its files

# What Debian's own nginx.conf says around a site.
NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/yumna-panel.conf;
}}
"""
# A process for tests takes no port of the machine's own Caddy.
CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n\n"


class Front:
    """A web server in front of a panel; `https` is the port browsers and agents dial."""

    def __init__(self, name: str, folder: Path, panel: int) -> None:
        self.name, self.folder, self.panel = name, folder, panel
        self.http, self.https = free_port(), free_port()
        self.authority = Authority(folder)
        self.authority.server(name=HOST)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the panel's address as people type it."""
        return f"https://{HOST}:{self.https}"

    def trust(self) -> ssl.SSLContext:
        """Return a client's context that trusts the certificate."""
        return ssl.create_default_context(cafile=str(self.authority.file))

    def configure(self) -> list[str]:
        """Write the configuration; return the command that runs it in the foreground."""
        return {"nginx": self._nginx, "caddy": self._caddy}[self.name]()

    def start(self) -> "Front":
        """Start it, and wait until it listens."""
        command = self.configure()
        with (self.folder / "output.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment())
        wait_for_port(self.https)
        return self

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def environment(self) -> dict[str, str]:
        """Return what the program finds around it."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)}

    def log(self) -> str:
        """Return all it has written."""
        return "\n".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def _nginx(self) -> list[str]:
        site = replaced(
            text("nginx/yumna-panel.conf"),
            {
                "    listen 80;\n    listen [::]:80;\n": f"    listen 127.0.0.1:{self.http};\n",
                "    listen 443 ssl;\n    listen [::]:443 ssl;\n": f"    listen 127.0.0.1:{self.https} ssl;\n",
                f"/etc/letsencrypt/live/{HOST}/fullchain.pem": f"{self.folder}/{CERTIFICATE}.pem",
                f"/etc/letsencrypt/live/{HOST}/privkey.pem": f"{self.folder}/{CERTIFICATE}.key",
                "127.0.0.1:8000": f"127.0.0.1:{self.panel}",
            },
        )
        (self.folder / "yumna-panel.conf").write_text(site)
        main = self.folder / "nginx.conf"
        # Root's nginx gives its workers to another user, who may not enter a folder of ours.
        main.write_text(NGINX.format(folder=self.folder, user="user root root;" if os.geteuid() == 0 else ""))
        return [program("nginx"), "-p", str(self.folder), "-c", str(main)]

    def _caddy(self) -> list[str]:
        site = replaced(
            text("caddy/Caddyfile"),
            {
                f"{{$PANEL_HOST:{HOST}}}": f"{HOST}:{self.https}",
                "# tls /etc/ssl/certs/panel.pem /etc/ssl/private/panel.key": (
                    f"tls {self.folder}/{CERTIFICATE}.pem {self.folder}/{CERTIFICATE}.key"
                ),
                "{$PANEL_UPSTREAM:127.0.0.1:8000}": f"127.0.0.1:{self.panel}",
            },
        )
        main = self.folder / "Caddyfile"
        main.write_text(CADDY.format(folder=self.folder / "storage") + site)
        return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(main)]
