"""Speaks to the Bot API server of the tests through python-telegram-bot, and says what that client makes of it."""

import asyncio
import json
import logging
import subprocess
import sys
import urllib.request

import telegram
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter
from telegram.ext import Application, CommandHandler, MessageHandler, filters

TOKEN = "4242:a-token-that-only-this-test-knows"


class Server:
    def __init__(self, program):
        self.process = subprocess.Popen(
            [program, "--token", TOKEN, "--life-seconds", "120", "--follow-stdin"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        addresses = json.loads(self.process.stdout.readline())
        self.api, self.control = "http://" + addresses["api"], "http://" + addresses["control"]

    def order(self, path, **body):
        request = urllib.request.Request(self.control + path, json.dumps(body).encode())
        return json.load(urllib.request.urlopen(request, timeout=10))

    def bot(self, token=TOKEN):
        return telegram.Bot(token, base_url=self.api + "/bot", base_file_url=self.api + "/file/bot")


def shown(what, held):
    print(f"{what:<64} {'ok' if held else 'NOT SO'}")
    if not held:
        sys.exit(1)


async def refused(kind, call):
    try:
        await call
    except kind as error:
        return error
    return None


async def methods(server):
    bot = server.bot()
    async with bot:
        shown("getMe, the profile of the bot", (await bot.get_me()).username == "the_bot")
        first, second = server.order("/message", chat=7, text="one"), server.order("/message", chat=7, text="two")
        given = await bot.get_updates(timeout=1)
        shown("both updates are given, in order", [u.message.text for u in given] == ["one", "two"])
        shown("unconfirmed, they are given again", len(await bot.get_updates(timeout=1)) == 2)
        given = await bot.get_updates(offset=second["update_id"], timeout=1)
        shown("an offset confirms what is below it", [u.update_id for u in given] == [second["update_id"]])
        given = await bot.get_updates(offset=first["update_id"], timeout=1)
        shown("and that is not taken back", [u.update_id for u in given] == [second["update_id"]])
        server.order("/callback", chat=7, message_id=1, data="yes")
        given = await bot.get_updates(offset=second["update_id"] + 1, timeout=1)
        shown("a pressed button", given[0].callback_query.data == "yes")
        shown("is answered", await bot.answer_callback_query(given[0].callback_query.id))
        waiting = asyncio.create_task(bot.get_updates(offset=given[0].update_id + 1, timeout=20))
        await asyncio.sleep(0.3)
        server.order("/message", chat=-5, text="late", thread=17)
        late = (await waiting)[0].message
        shown("a long poll ends when something comes", (late.text, late.message_thread_id) == ("late", 17))
        offset = (await bot.get_updates(timeout=0))[-1].update_id + 1
        old = asyncio.create_task(refused(Conflict, bot.get_updates(offset=offset, timeout=20)))
        await asyncio.sleep(0.3)
        async with server.bot() as other:
            new = asyncio.create_task(other.get_updates(offset=offset, timeout=2))
            shown("of two polls the older is told 409 Conflict", await old is not None)
            shown("and the newer lives on", await new == ())

        said = await bot.send_message(7, "hello", message_thread_id=3, reply_to_message_id=first["message_id"])
        shown("sendMessage keeps the topic", said.message_thread_id == 3)
        edited = await bot.edit_message_text("hello!", chat_id=7, message_id=said.message_id)
        shown("editMessageText", edited.text == "hello!")
        error = await refused(BadRequest, bot.edit_message_text("hello!", chat_id=7, message_id=said.message_id))
        shown("the same text again is a 400", "message is not modified" in error.message.lower())
        error = await refused(BadRequest, bot.send_message(7, "x" * 4097))
        shown("4,097 units are too long", "too long" in error.message.lower())
        shown("4,096 are not", (await bot.send_message(7, "\U0001f600" * 2048)).text is not None)
        error = await refused(BadRequest, bot.send_message(12345, "x"))
        shown("a chat that never spoke is not found", "chat not found" in error.message.lower())
        shown("sendChatAction", await bot.send_chat_action(7, "typing"))
        shown("setMyCommands", await bot.set_my_commands([("restart", "restarts the gateway")]))
        shown("getMyCommands gives them back", (await bot.get_my_commands())[0].command == "restart")
        sent = await bot.send_document(7, b"bytes \r\n--", filename="a.txt", caption="a file")
        shown("sendDocument", (sent.document.file_name, sent.caption) == ("a.txt", "a file"))
        server.order("/message", chat=7, text="look", file={"kind": "photo", "content": "pixels"})
        photo = (await bot.get_updates(offset=offset, timeout=1))[0].message.photo[-1]
        content = await (await photo.get_file()).download_as_bytearray()
        shown("getFile and the download of a photo", bytes(content) == b"pixels")

        server.order("/fault", kind="slow_down", method="sendMessage", retry_after=3)
        error = await refused(RetryAfter, bot.send_message(7, "quick"))
        seconds = getattr(error.retry_after, "total_seconds", lambda: error.retry_after)()
        shown("429 with retry_after", seconds == 3)
        server.order("/settings", block=7)
        shown("403 of a person who blocked the bot", await refused(Forbidden, bot.send_message(7, "x")) is not None)
        server.order("/settings", unblock=7)
        server.order("/fault", kind="lose_answer", method="sendMessage")
        shown("a lost answer is a broken connection", await refused(NetworkError, bot.send_message(7, "lost")) is not None)
        there = [said["text"] for said in server.order("/chat", chat=7)["messages"]]
        shown("and the message is there", "lost" in there)
        shown("a wrong token", await refused(InvalidToken, server.bot("4242:wrong").get_me()) is not None)
        server.order("/settings", revoked=True)
        shown("a revoked token", await refused(InvalidToken, bot.get_me()) is not None)
        server.order("/settings", revoked=False)


async def application(server):
    """Its own poller, with its own offsets, over a restart of the server."""

    async def echo(update, _context):
        await update.message.reply_text("You said: " + update.message.text)

    app = Application.builder().token(TOKEN).base_url(server.api + "/bot").build()
    app.add_handler(CommandHandler("start", echo))
    app.add_handler(MessageHandler(filters.TEXT, echo))
    async with app:
        await app.start()
        await app.updater.start_polling(timeout=2)
        for number in range(10):
            if number == 5:
                # Its answers are out by then: this client does not repeat a send of its own.
                await asyncio.sleep(1)
                server.order("/down", ms=1000)
            server.order("/message", chat=9, text=f"word {number}")
            await asyncio.sleep(0.1)
        server.order("/message", chat=9, text="/start")
        for _ in range(200):
            answers = [said["text"] for said in server.order("/chat", chat=9)["messages"]]
            if "You said: /start" in answers:
                break
            await asyncio.sleep(0.1)
        await app.updater.stop()
        await app.stop()
    expected = [f"You said: word {number}" for number in range(10)] + ["You said: /start"]
    shown("its own poller answers each message once over a server restart", sorted(answers) == sorted(expected))


def main():
    print("python-telegram-bot", telegram.__version__)
    # It tells at length that the server went away, which it is meant to.
    logging.getLogger("telegram.ext").setLevel(logging.CRITICAL)
    server = Server(sys.argv[1])
    try:
        asyncio.run(methods(server))
        asyncio.run(application(server))
        account = server.order("/account")
        del account["now_ms"]
        print("account:", json.dumps(account))
    finally:
        server.order("/end")
        server.process.wait(10)


main()
