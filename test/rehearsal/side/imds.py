"""Instance metadata service, version 2 only: who asks is known by the address it asks from."""

import datetime
import http.server
import json
import secrets
import socketserver
import sys
import time

import credentials

TOKENS = {}


def instance(address):
    """What is known of the instance at this address."""
    return next((facts for facts in credentials.instances() if facts["privateIp"] == address), None)


def role_credentials(facts):
    """Temporary ones, as a role's are."""
    now = datetime.datetime.now(datetime.timezone.utc)
    times = {
        "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Expiration": (now + datetime.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return json.dumps({"Code": "Success", "Type": "AWS-HMAC"} | credentials.of(facts) | times, indent=2)


def leaves(facts):
    """Path below /latest -> text."""
    data = {
        "meta-data/instance-id": facts["id"],
        "meta-data/ami-id": "ami-0rehearsal",
        "meta-data/local-ipv4": facts["privateIp"],
        "meta-data/hostname": facts["hostname"],
        "meta-data/local-hostname": facts["hostname"],
        "meta-data/placement/region": facts["region"],
        "meta-data/placement/availability-zone": facts["zone"],
        "meta-data/services/domain": "amazonaws.com",
        "meta-data/services/partition": "aws",
        "user-data": facts["userData"],
        "dynamic/instance-identity/document": json.dumps(
            {
                "instanceId": facts["id"],
                "region": facts["region"],
                "availabilityZone": facts["zone"],
                "privateIp": facts["privateIp"],
                "architecture": "x86_64",
            },
            indent=2,
        ),
    }
    for key, value in facts["tags"].items():
        data["meta-data/tags/instance/" + key] = value
    if facts["instanceProfile"]:
        data["meta-data/iam/info"] = json.dumps({"Code": "Success", "InstanceProfileArn": facts["instanceProfile"]})
        role = facts["instanceProfile"].rsplit("/", 1)[-1]
        data["meta-data/iam/security-credentials/" + role] = role_credentials(facts)
    return data


class Imds(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"

    def answer(self, status, text="", headers=()):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            return self.answer(404)
        # a proxy must not be able to get one
        if self.headers.get("X-Forwarded-For"):
            return self.answer(403)
        if not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            return self.answer(400)
        token = secrets.token_urlsafe(40)
        TOKENS[token] = (self.client_address[0], time.time() + int(ttl))
        return self.answer(200, token, [("X-aws-ec2-metadata-token-ttl-seconds", ttl)])

    def do_GET(self):
        owner, until = TOKENS.get(self.headers.get("X-aws-ec2-metadata-token", ""), (None, 0))
        if owner != self.client_address[0] or until < time.time():
            return self.answer(401)
        facts = instance(self.client_address[0])
        path = self.path.split("?")[0]
        for version in ("/latest/", "/2021-07-15/", "/2022-09-24/"):
            if path.startswith(version):
                path = path[len(version) :]
                break
        else:
            return self.answer(404)
        if facts is None:
            return self.answer(404)
        data = leaves(facts)
        if path in data:
            return self.answer(200, data[path])
        # a folder, with or without the slash: its entries, folders among them with one
        folder = path.rstrip("/") + "/"
        below = [key[len(folder) :] for key in data if key.startswith(folder)]
        entries = sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in below})
        return self.answer(200, "\n".join(entries)) if entries else self.answer(404)

    def log_message(self, format, *args):
        sys.stderr.write(f"imds {self.client_address[0]} {format % args}\n")


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True


Server(("169.254.169.254", 80), Imds).serve_forever()
