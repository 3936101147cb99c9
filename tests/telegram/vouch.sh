#!/bin/sh
# Has an independent client, python-telegram-bot, speak to the Bot API server of the tests: what it takes for the real one's
# behaviour is what our adapter is tested against. Needs python3 with venv, and PyPI once. What it printed last:
#
#   python-telegram-bot 22.8
#   getMe, the profile of the bot                                    ok
#   both updates are given, in order                                 ok
#   unconfirmed, they are given again                                ok
#   an offset confirms what is below it                              ok
#   and that is not taken back                                       ok
#   a pressed button                                                 ok
#   is answered                                                      ok
#   a long poll ends when something comes                            ok
#   of two polls the older is told 409 Conflict                      ok
#   and the newer lives on                                           ok
#   sendMessage keeps the topic                                      ok
#   editMessageText                                                  ok
#   the same text again is a 400                                     ok
#   4,097 units are too long                                         ok
#   4,096 are not                                                    ok
#   a chat that never spoke is not found                             ok
#   sendChatAction                                                   ok
#   setMyCommands                                                    ok
#   getMyCommands gives them back                                    ok
#   sendDocument                                                     ok
#   getFile and the download of a photo                              ok
#   429 with retry_after                                             ok
#   403 of a person who blocked the bot                              ok
#   a lost answer is a broken connection                             ok
#   and the message is there                                         ok
#   a wrong token                                                    ok
#   a revoked token                                                  ok
#   its own poller answers each message once over a server restart   ok
#   account: {"conflicts": 1, "faults_left": 0, "overlaps": 1, "updates": {"confirmed": 16, "given_again": 6, "waiting": 0}}
set -eu
cd "$(dirname "$0")/../.."
venv=${VOUCH_VENV:-target/vouch-venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import telegram' 2>/dev/null || "$venv/bin/pip" --quiet install python-telegram-bot
cargo build --quiet -p evergate-tests --bin bot-api
exec "$venv/bin/python" tests/telegram/vouch.py "${CARGO_TARGET_DIR:-target}/debug/bot-api"
