// An agent on the protocol's own SDK that has its client see to files and commands, and holds each answer against the SDK's
// schema. Usage: node errands.mjs DIST, the SDK's folder of that name. It tells what came of it as JSON.
import { Readable, Writable } from "node:stream";

const dist = process.argv[2];
const acp = await import(`${dist}/acp.js`);
const schema = await import(`${dist}/schema/zod.gen.js`);
setTimeout(() => process.exit(1), 60_000).unref();
const folders = new Map();
let offered;

const code = (call) => call.then(() => "allowed", (error) => error.code);

async function errands(connection, sessionId) {
  const at = (name) => `${folders.get(sessionId)}/${name}`;
  const [writing, reading] = [schema.zWriteTextFileResponse, schema.zReadTextFileResponse];
  writing.parse(await connection.writeTextFile({ sessionId, path: at("notes.txt"), content: "one\ntwo\nthree\n" }));
  const read = reading.parse(await connection.readTextFile({ sessionId, path: at("notes.txt"), line: 2, limit: 1 }));
  const outside = await code(connection.readTextFile({ sessionId, path: "/etc/passwd" }));
  const missing = await code(connection.readTextFile({ sessionId, path: at("none") }));
  const terminal = await connection.createTerminal({
    sessionId, command: "sh", args: ["-c", "cat notes.txt; echo $WHO; exit 3"], env: [{ name: "WHO", value: "sdk" }],
    cwd: folders.get(sessionId), outputByteLimit: 10,
  });
  const exit = schema.zWaitForTerminalExitResponse.parse(await terminal.waitForExit());
  const output = schema.zTerminalOutputResponse.parse(await terminal.currentOutput());
  schema.zReleaseTerminalResponse.parse(await terminal.release());
  const released = await code(terminal.currentOutput());
  const long = await connection.createTerminal({ sessionId, command: "sleep", args: ["50"] });
  const running = schema.zTerminalOutputResponse.parse(await long.currentOutput());
  schema.zKillTerminalResponse.parse(await long.kill());
  const killed = schema.zWaitForTerminalExitResponse.parse(await long.waitForExit());
  return { offered, read, outside, missing, exit, output, released, running, killed };
}

const agent = (connection) => ({
  async initialize({ clientCapabilities }) {
    offered = schema.zClientCapabilities.parse(clientCapabilities);
    offered = { fs: offered.fs, terminal: offered.terminal };
    return { protocolVersion: acp.PROTOCOL_VERSION, agentCapabilities: { loadSession: false } };
  },
  async newSession({ cwd }) {
    folders.set(`session-${folders.size}`, cwd);
    return { sessionId: `session-${folders.size - 1}` };
  },
  async prompt({ sessionId }) {
    const told = await errands(connection, sessionId).catch((error) => ({ failed: `${error.stack ?? error}` }));
    const content = { type: "text", text: JSON.stringify(told) };
    await connection.sessionUpdate({ sessionId, update: { sessionUpdate: "agent_message_chunk", content } });
    return { stopReason: "end_turn" };
  },
  async authenticate() {
    return {};
  },
  async cancel() {},
});

new acp.AgentSideConnection(agent, acp.ndJsonStream(Writable.toWeb(process.stdout), Readable.toWeb(process.stdin)));
