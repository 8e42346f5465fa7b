"""moto's S3, Secrets Manager and CloudWatch Logs, for those whose signature is right and whose role may.

moto itself looks at no signature. Requests from ADMIN's address (the rehearsal itself) are let through.
"""

import datetime
import hashlib
import hmac
import io
import json
import os
import re
import sys
import threading
import urllib.parse

import credentials
import iam
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

EMPTY = hashlib.sha256(b"").hexdigest()
LOG = "/world/requests.log"
ACCOUNT = "123456789012"


class Refused(Exception):
    """With AWS' own code for why."""

    def __init__(self, code, message, status=403):
        super().__init__(message)
        self.code, self.status = code, status


class Request:
    """What is signed and what it is for."""

    def __init__(self, environ):
        self.method = environ["REQUEST_METHOD"]
        self.target = environ.get("REQUEST_URI") or environ["RAW_URI"]
        self.path, _, self.query = self.target.partition("?")
        self.headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(key):
                self.headers[key.replace("_", "-").lower()] = environ[key]
        self.body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(self.body)
        self.host = self.headers["host"].split(":")[0]
        self.service = next((s for s in ("secretsmanager", "logs") if self.host.startswith(s + ".")), "s3")


def unquoted(text):
    return urllib.parse.unquote(text)


def quoted(text):
    return urllib.parse.quote(text, safe="-_.~")


def canonical_query(query):
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(sorted(f"{quoted(unquoted(k))}={quoted(unquoted(v))}" for k, _, v in pairs))


def sign(secret, scope, text):
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def authenticate(request):
    """The instance that signed this request."""
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        request.headers.get("authorization", ""),
    )
    if not match:
        code = "AccessDenied" if request.service == "s3" else "MissingAuthenticationTokenException"
        raise Refused(code, "the request is not signed")
    key, scope, names, signature = match.groups()
    facts = credentials.owner(key)
    if facts is None:
        raise Refused("InvalidAccessKeyId", "there is no such access key")
    own = credentials.of(facts)
    if request.headers.get("x-amz-security-token") != own["Token"]:
        raise Refused("InvalidToken", "the credentials are a role's, so the session token belongs to them")
    day, region, service, end = scope.split("/")
    if (region, service, end) != (os.environ["REGION"], request.service, "aws4_request"):
        raise Refused("AuthorizationHeaderMalformed", f"the scope is {scope}", 400)
    date = request.headers.get("x-amz-date", "")
    sent = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs((datetime.datetime.now(datetime.timezone.utc) - sent).total_seconds()) > 900 or not date.startswith(day):
        raise Refused("RequestTimeTooSkewed", f"the request is of {date}")
    signed = names.split(";")
    for name in request.headers:
        must = name == "host" or (name.startswith("x-amz-") and name != "x-amz-content-sha256")
        if must and name not in signed:
            raise Refused("AccessDenied", f"There were headers present in the request which were not signed: {name}")
    actual = hashlib.sha256(request.body).hexdigest()
    payload = request.headers.get("x-amz-content-sha256", actual)
    if request.service == "s3" and "x-amz-content-sha256" not in request.headers:
        raise Refused("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400)
    if re.fullmatch("[0-9a-f]{64}", payload) and payload != actual:
        raise Refused("XAmzContentSHA256Mismatch", "the body is not what was signed", 400)
    path = request.path if request.service == "s3" else quoted(request.path).replace("%2F", "/")
    canonical = "\n".join(
        [
            request.method,
            path,
            canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            names,
            payload,
        ]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    if not hmac.compare_digest(sign(own["SecretAccessKey"], scope, text), signature):
        raise Refused("SignatureDoesNotMatch", f"the signature is not that of this request:\n{canonical}")
    return facts


def s3_asks(request):
    """Pairs of action and resource, and what conditions can look at."""
    suffix = f"s3.{os.environ['REGION']}.amazonaws.com"
    path = unquoted(request.path).lstrip("/")
    if request.host == suffix:
        bucket, _, key = path.partition("/")
    else:
        bucket, key = request.host.removesuffix("." + suffix), path
    query = dict(urllib.parse.parse_qsl(request.query, keep_blank_values=True))
    context = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}
    context |= {"aws:resourceaccount": ACCOUNT, "aws:principalaccount": ACCOUNT, "s3:resourceaccount": ACCOUNT}
    context |= {f"s3:{k}": v for k, v in query.items() if k in ("prefix", "delimiter", "max-keys", "versionid")}
    context |= {f"s3:{k}": v for k, v in request.headers.items() if k.startswith("x-amz-")}
    arn = f"arn:aws:s3:::{bucket}"
    if not bucket:
        return [("s3:ListAllMyBuckets", "*")], context
    if not key:
        if request.method == "POST" and "delete" in query:
            keys = re.findall(r"<Key>(.*?)</Key>", request.body.decode())
            return [("s3:DeleteObject", f"{arn}/{key}") for key in keys], context
        # a listing without a prefix asks for everything
        context.setdefault("s3:prefix", "")
        name = {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(request.method, "ListBucket")
        if request.method == "GET":
            for part, action in (
                ("versions", "ListBucketVersions"),
                ("uploads", "ListBucketMultipartUploads"),
                ("location", "GetBucketLocation"),
            ):
                name = action if part in query else name
        return [(f"s3:{name}", arn)], context
    verb = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}[request.method]
    name = f"{verb}Object"
    if "uploadId" in query and request.method == "DELETE":
        name = "AbortMultipartUpload"
    if "tagging" in query:
        name = name.replace("Object", "ObjectTagging")
    if "versionId" in query:
        name = name.replace("Object", "ObjectVersion")
    return [(f"s3:{name}", f"{arn}/{key}")], context


def asks(request):
    if request.service == "s3":
        return s3_asks(request)
    action = request.headers.get("x-amz-target", "").rpartition(".")[2]
    if request.service == "logs":
        return [(f"logs:{action}", "*")], {}
    body = json.loads(request.body or b"{}")
    name = body.get("SecretId", "")
    context = {"aws:securetransport": "true", "aws:resourceaccount": ACCOUNT}
    context |= {"secretsmanager:versionid": body.get("VersionId")}
    context |= {"secretsmanager:versionstage": body.get("VersionStage")}
    return [(f"secretsmanager:{action}", iam.secret_arn(name) or f"secret:{name}")], context


def authorize(facts, request):
    wanted, context = asks(request)
    for action, resource in wanted:
        # the stand-in provider makes no log groups, and pays no attention to what they are called
        may = request.service == "logs" or iam.allowed(facts, action, resource, context)
        note(facts["id"], action, resource, "allowed" if may else "denied")
        if not may:
            who = f"{facts['instanceProfile']} ({facts['id']})"
            code, status = ("AccessDenied", 403) if request.service == "s3" else ("AccessDeniedException", 400)
            raise Refused(code, f"{who} is not authorized to perform: {action} on resource: {resource}", status)


WRITING = threading.Lock()


def note(who, action, resource, verdict):
    with WRITING, open(LOG, "a", encoding="utf-8") as log:
        log.write(json.dumps({"instance": who, "action": action, "resource": resource, "verdict": verdict}) + "\n")


def refusal(request, refused, start_response):
    if request.service == "s3":
        kind = "application/xml"
        text = f"<Error><Code>{refused.code}</Code><Message><![CDATA[{refused}]]></Message></Error>"
    else:
        kind = "application/x-amz-json-1.1"
        text = json.dumps({"__type": refused.code, "message": str(refused)})
    print("refused", request.method, request.host, request.target, refused.code, refused, file=sys.stderr, flush=True)
    length = str(len(text.encode()))
    start_response(f"{refused.status} Refused", [("Content-Type", kind), ("Content-Length", length)])
    return [] if request.method == "HEAD" else [text.encode()]


class Guarded:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.headers.get("x-real-ip") != os.environ["ADMIN"]:
            try:
                authorize(authenticate(request), request)
            except iam.Unsupported as unknown:
                told = Refused("NotImplemented", f"the rehearsal knows no {unknown}", 501)
                return refusal(request, told, start_response)
            except Refused as refused:
                return refusal(request, refused, start_response)
        return self.app(environ, start_response)


class Quiet(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        pass


APP = Guarded(DomainDispatcherApplication(create_backend_app))
run_simple("127.0.0.1", 5000, APP, threaded=True, request_handler=Quiet)
