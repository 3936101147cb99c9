"""An agent for tests: it speaks just enough of the Agent Client Protocol, and misbehaves as the prompt tells it to.

Usage: agent.py FOLDER [MANNER...]. It keeps its sessions as files in FOLDER, appends a line to FOLDER/log for all that it
is told, and to FOLDER/starts for each start. Ends by itself after a minute."""
import json, os, pathlib, signal, subprocess, sys, threading, time

folder, manners = pathlib.Path(sys.argv[1]), sys.argv[2:]
signal.alarm(60)
with open(folder / "starts", "a") as starts:
    starts.write(f"{os.getpid()}\n")
lock, cancelled, answers, behind = threading.Lock(), {}, {}, {}


def out(text):
    with lock:
        sys.stdout.write(text)
        sys.stdout.flush()


def send(**message):
    out(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def update(session, kind, **rest):
    send(method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **rest}})


def say(session, text, who="agent_message_chunk"):
    update(session, who, content={"type": "text", "text": text})


def history(session):
    path = folder / f"{session}.json"
    return json.loads(path.read_text()) if path.exists() else None


def store(session, messages):
    fresh = folder / f"{session}.new"
    fresh.write_text(json.dumps(messages))
    fresh.rename(folder / f"{session}.json")


def log(text):
    with open(folder / "log", "a") as file:
        file.write(text + "\n")


def call(session, number, method, params):
    """Has the client do something; gives what it answers."""
    id = f"c{session}{number}"
    answered = answers[id] = threading.Event()
    send(id=id, method=method, params={"sessionId": session, **params})
    answered.wait(50)
    error = answers[f"{id} error"]
    return {"error": error} if error else answers[f"{id} result"]


def calls(session, wanted):
    """Calls one after the other and says what comes of each, a line each. "$" is the last terminal's id; besides methods there are
    "say TEXT", "wait" (for a cancellation), "until TEXT" (the terminal has printed that), "flood COUNT" (without waiting), "pause", "later"
    (meanwhile) and "behind" (when the turn has ended, as often as it takes to be refused); the log has the answer of both."""
    terminal = None
    for number, (method, params) in enumerate(wanted):
        word, _, rest = method.partition(" ")
        if word == "say":
            say(session, rest)
        elif word == "wait":
            if cancelled[session].wait(30):
                log("was cancelled")
        elif word == "until":
            while rest not in call(session, f"{number}-{time.monotonic()}", "terminal/output", {"terminalId": terminal})["output"]:
                time.sleep(0.01)
        elif word == "flood":
            named = {name: terminal if value == "$" else value for name, value in params[1].items()}
            for count in range(int(rest)):
                send(id=f"flood{count}", method=params[0], params={"sessionId": session, **named})
        elif word == "pause":
            time.sleep(0.3)
        elif word == "later":
            def later(number, method, params):
                time.sleep(0.1)
                log("later " + json.dumps(call(session, number, method, params)))
            named = {name: terminal if value == "$" else value for name, value in params[1].items()}
            threading.Thread(target=later, args=(number, params[0], named), daemon=True).start()
        elif word == "behind":
            behind[session] = params[0], {name: terminal if value == "$" else value for name, value in params[1].items()}
        else:
            params = {name: terminal if value == "$" else value for name, value in params.items()}
            result = call(session, number, method, params)
            terminal = (result or {}).get("terminalId", terminal)
            say(session, json.dumps(result) + "\n")
    return "cancelled" if cancelled[session].is_set() else "end_turn"


def answer(session, text):
    """What is said to a prompt; gives the reason to stop. The last line of the prompt is what counts."""
    words = text.strip().split("\n")[-1].split()
    match words[0]:
        case "crash":
            say(session, "so far")
            store(session, history(session) + [["agent", "so far"]])
            time.sleep(0.1)
            os._exit(7)
        case "die":
            say(session, "so far")
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            say(session, "waiting")
            return "cancelled" if cancelled[session].wait(30) else "end_turn"
        case "finish":
            say(session, "almost")
            cancelled[session].wait(30)
            say(session, " done")
            return "end_turn"
        case "deaf":
            say(session, "deaf")
            time.sleep(50)
        case "silent":
            time.sleep(50)
        case "flood":
            for _ in range(50_000):
                say(session, "word " * 20)
            cancelled[session].wait(30)
            return "cancelled"
        case "noise":
            for number in range(2000):
                update(session, "tool_call_update", toolCallId="1", rawOutput="x" * 1000)
            out("{" + "y" * (9 * 1024 * 1024) + "\n")
            out("\n\x00\xff not json\n[]\n")
            say(session, "through")
        case "garbage":
            while True:
                out("z" * 65536)
        case "steps":
            say(session, "one")
            update(session, "tool_call", toolCallId="1", title="look")
            say(session, "two")
            update(session, "from_the_future")
            say(session, " three")
        case "ask":
            options = [{"optionId": kind, "name": kind, "kind": kind} for kind in ("allow_always", "allow_once", "reject_once")]
            tool = {"toolCallId": "1", "title": "rm -rf /", "kind": "execute"}
            answered = answers["p1"] = threading.Event()
            send(id="p1", method="session/request_permission", params={"sessionId": session, "toolCall": tool, "options": options})
            answered.wait(50)
            outcome = answers["p1 outcome"]
            log("outcome " + outcome.get("optionId", outcome["outcome"]))
            if outcome["outcome"] == "cancelled":
                return "cancelled"
            say(session, outcome["optionId"])
            if words[1:] == ["linger"] and len((folder / "starts").read_text().split()) == 1:
                return "cancelled" if cancelled[session].wait(30) else "end_turn"
        case "picture":
            say(session, "look")
            picture = {"type": "image", "data": "cGl4ZWxz", "mimeType": "image/png", "uri": "file:///tmp/map.png"}
            update(session, "agent_message_chunk", content=picture)
            link = {"type": "resource_link", "uri": "file:///etc/passwd", "name": "secret"}
            update(session, "agent_message_chunk", content=link)
        case "files":
            here = {"sessionId": session, "path": str(folder / "mine")}
            for method, rest in [
                ("fs/read_text_file", {}), ("fs/write_text_file", {"content": "x"}), ("terminal/create", {"command": "id"}),
            ]:
                answered = answers["f1"] = threading.Event()
                send(id="f1", method=method, params={**here, **rest})
                answered.wait(30)
                say(session, f"{answers['f1 error']['code']} ")
        case "calls":
            return calls(session, json.loads(text.strip().split("\n")[-1].split(" ", 1)[1]))
        case "afterwards":
            def later():
                time.sleep(0.3)
                log("afterwards " + json.dumps(call(session, "later", "fs/read_text_file", {"path": str(folder / "log")})))
            threading.Thread(target=later, daemon=True).start()
        case "stop":
            say(session, "said")
            return words[1]
        case "environment":
            for name in words[1:]:
                say(session, f"{name}={os.environ.get(name)} ")
            say(session, os.getcwd())
        case "restart":
            command = [os.environ["PROGRAM"], "restart", "--wait", "25s"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            say(session, f"{done.returncode}: {done.stdout}{done.stderr}")
        case "error":
            raise ValueError("no key")
        case _:
            say(session, f"heard {len([who for who, _ in history(session) if who == 'user'])}: ")
            say(session, text)
    return "end_turn"


def prompt(id, session, text):
    cancelled[session] = threading.Event()
    if history(session) is None:
        return send(id=id, result={"stopReason": "refusal"})
    store(session, history(session) + [["user", text]])
    try:
        reason = answer(session, text)
    except ValueError as error:
        return send(id=id, error={"code": -32603, "message": "Internal error", "data": {"details": str(error)}})
    if "forgetful" not in manners:
        store(session, history(session) + [["agent", "…"]])
    send(id=id, result={"stopReason": reason})
    method, params = behind.pop(session, (None, None))
    for number in range(1000 if method else 0):
        result = call(session, f"behind{number}", method, params)
        if "error" in (result or {}):
            return log("behind " + json.dumps(result))


if "mute" in manners:
    time.sleep(50)
if "stubborn" in manners:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "doomed" in manners:
    sys.exit("cannot find the model")
for line in sys.stdin:
    message = json.loads(line)
    id, method, params = message.get("id"), message.get("method"), message.get("params") or {}
    session = params.get("sessionId")
    match method:
        case None:
            answers[f"{id} outcome"] = (message.get("result") or {}).get("outcome")
            answers[f"{id} result"] = message.get("result")
            answers[f"{id} error"] = message.get("error")
            if id in answers:
                answers[id].set()
        case "initialize":
            log("capabilities " + json.dumps(params["clientCapabilities"]))
            version = 2 if "newer" in manners else params["protocolVersion"]
            send(id=id, result={"protocolVersion": version, "agentCapabilities": {"loadSession": "loads" in manners}})
        case "session/new":
            if "locked" in manners:
                send(id=id, error={"code": -32000, "message": "Authentication required"})
                continue
            session = f"s{len(list(folder.glob('*.json')))}"
            store(session, [])
            send(id=id, result={"sessionId": session})
            log(f"new {session}")
        case "session/load":
            if "vague" not in manners and history(session) is None:
                send(id=id, error={"code": -32002, "message": "Resource not found"})
                continue
            for who, text in history(session) or []:
                say(session, text, f"{who}_message_chunk")
            send(id=id, result=None)
            log(f"load {session}")
        case "session/prompt":
            text = params["prompt"][0]["text"]
            log("prompt " + json.dumps(text))
            threading.Thread(target=prompt, args=(id, session, text), daemon=True).start()
        case "session/cancel":
            log(f"cancel {session}")
            cancelled[session].set()
log("stdin closed")
if "stubborn" in manners:
    time.sleep(50)
