// An agent for the scene with questions and files: just enough of the Agent Client Protocol, one JSON a line. It asks before it does
// what a prompt with "delete" wants, hands out a picture for one with "picture", and says what it heard to all others.
// Ends with its standard input, or by itself after two minutes.

import { createInterface } from 'node:readline';

setTimeout(() => process.exit(1), 120_000).unref();

const PICTURE = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const OPTIONS = ['allow_once', 'reject_once'].map(kind => ({ optionId: kind, name: kind, kind }));

const send = message => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const chunk = (sessionId, content) =>
  send({ method: 'session/update', params: { sessionId, update: { sessionUpdate: 'agent_message_chunk', content } } });
const say = (sessionId, text) => chunk(sessionId, { type: 'text', text });

const waiting = new Map();
let asked = 0, sessions = 0;

function ask(sessionId, title) {
  const id = `question-${asked += 1}`;
  const toolCall = { toolCallId: id, title, kind: 'execute' };
  send({ id, method: 'session/request_permission', params: { sessionId, toolCall, options: OPTIONS } });
  return new Promise(resolve => waiting.set(id, resolve));
}

async function prompt(id, { sessionId, prompt: parts }) {
  const text = parts.map(part => part.text ?? '').join('\n').trim().split('\n').at(-1);
  if (text.includes('delete')) {
    const { outcome, optionId } = await ask(sessionId, 'rm -r ~/Downloads/old');
    if (outcome === 'cancelled') return send({ id, result: { stopReason: 'cancelled' } });
    say(sessionId, optionId === 'allow_once' ? 'The old downloads are gone.' : 'Nothing was deleted.');
  } else if (text.includes('picture')) {
    say(sessionId, 'Here it is.');
    chunk(sessionId, { type: 'image', data: PICTURE, mimeType: 'image/png', uri: 'file:///tmp/sunset.png' });
  } else {
    say(sessionId, `I heard: ${text}`);
  }
  send({ id, result: { stopReason: 'end_turn' } });
}

createInterface({ input: process.stdin }).on('line', line => {
  const { id, method, params, result } = JSON.parse(line);
  if (method === undefined) { waiting.get(id)?.(result?.outcome ?? { outcome: 'cancelled' }); waiting.delete(id); }
  else if (method === 'initialize') send({ id, result: { protocolVersion: params.protocolVersion, agentCapabilities: {} } });
  else if (method === 'session/new') send({ id, result: { sessionId: `s${sessions += 1}` } });
  else if (method === 'session/prompt') prompt(id, params);
}).on('close', () => process.exit(0));
