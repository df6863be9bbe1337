"""What the fuzzer of the contract has to know to get past the doors: schemathesis makes requests from the API document alone,
so most of them would end at a missing token. Here a player signs in, operators' requests get their certificate, and every
other request is completed so that it is taken. What is completed follows from a count, so a seed gives the same run."""

import datetime
import json
import os
import time
import urllib.parse
import urllib.request

import schemathesis

API = os.environ["CONTRACT_API"]
AGENT = {"cert": "demo-cert", "agentId": "demo"}
GAME = {"platform": "In-out", "gameType": "CRASH", "gameCode": "chicken-road-two"}
EPOCH_S = 5

calls = {}


def post(path, fields):
    data = urllib.parse.urlencode({**AGENT, **fields}).encode()
    with urllib.request.urlopen(API + path, data) as answer:
        return json.load(answer)


def launch_token(user_id):
    url = post("/wallet/login", {"userId": user_id})["url"]
    return urllib.parse.parse_qs(urllib.parse.urlparse(url).query)["authToken"][0]


def sign_in(user_id):
    post("/wallet/createMember", {"userId": user_id, "currency": "INR"})
    body = {"auth_token": launch_token(user_id), "operator": "demo", "currency": "INR"}
    request = urllib.request.Request(API + "/api/auth", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["result"]


TOKEN = sign_in("fuzzer")
# The one whom operators' requests are about; it may be suspended and signed out as they like.
post("/wallet/createMember", {"userId": "subject", "currency": "INR"})


def completed(path, call):
    """What makes a request one that is taken, by its path."""
    if path == "/api/auth":
        return {"auth_token": launch_token("subject"), "operator": "demo", "currency": "INR"}
    if path == "/api/game/bet":
        return {"betAmount": "1.00", "difficulty": "EASY", "currency": "INR", "hazardEpoch": int(time.time()) // EPOCH_S}
    if path == "/api/game/step":
        return {"lineNumber": call // 2 % 4, "roundId": None}
    if path == "/api/game/cashout":
        return {"lineNumber": None, "roundId": None}
    if path == "/wallet/createMember":
        return {"userId": f"member{call}", "currency": "INR", "betLimit": "100", "language": "en", "userName": "A name"}
    if path == "/wallet/updatePlayerStatus":
        return {"userId": "subject", "status": ["active", "suspend", "lock"][call % 3]}
    if path == "/wallet/updateBetLimit":
        return {"userId": "subject", "betLimit": "50"}
    if path == "/wallet/doLoginAndLaunchGame":
        return {"userId": "subject", "language": "en", **GAME}
    if path == "/wallet/login":
        return {"userId": "subject", "language": "en", "platform": GAME["platform"], "gameType": GAME["gameType"]}
    if path == "/wallet/logout":
        return {"userIds": "subject"}
    return {"userId": "subject"} if path.startswith("/wallet/") else {}


def existing(path):
    """Names in paths that lead to something."""
    if path == "/api/hazards/chain/{date}":
        return {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()}
    return {"/page/{file}": {"file": "index.html"}, "/api/hazards/{difficulty}": {"difficulty": "HARD"}}.get(path, {})


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    call = calls[path] = calls.get(path, -1) + 1
    if path.startswith("/api/game/"):
        case.headers["Authorization"] = f"Bearer {TOKEN}"
        # A bet under a key that was used before, now and then.
        if path == "/api/game/bet" and call % 4:
            case.headers["Idempotency-Key"] = f"key-{call // 8}"
    if call % 2 and case.path_parameters:
        case.path_parameters.update(existing(path))
    if isinstance(case.body, dict):
        if path.startswith("/wallet/") and call % 5:
            case.body = {**case.body, **AGENT}
        if call % 2:
            fields = {name: value for name, value in completed(path, call).items() if value is not None}
            left_out = [name for name, value in completed(path, call).items() if value is None]
            case.body = {name: value for name, value in case.body.items() if name not in left_out} | fields
