"""Talks with the chat from Python and keeps the history, as every client has to.

python client.py http://localhost:8000    # with an app that is served, by a typed handle and by plain HTTP
python client.py                          # with one that this program runs itself
"""

import sys
from typing import Any

import httpx
from app import Message, MultilingualChat, app
from chat import Exchange

import motet

FRENCH = ["Bonjour, comment allez-vous ?", "Aimez-vous la musique ?", "Pourquoi ?", "???"]
ENGLISH = ["Hello, how are you?", "My neighbours are very noisy."]


def talk(chat: MultilingualChat, texts: list[str]) -> None:
    """Have a conversation through a handle: of an app elsewhere or of one's own, it makes no difference."""
    history: list[Exchange] = []
    for text in texts:
        reply = chat.reply(Message(text=text, history=history)).result()
        history.append(reply.exchange)
        print(f"  {text}\n> {reply.text}")


def talk_by_http(url: str, texts: list[str]) -> None:
    """Have a conversation as a program would that doesn't know Motet."""
    history: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, timeout=60) as http:
        for text in texts:
            reply = http.post("/reply", json={"text": text, "history": history}).raise_for_status().json()
            history.append(reply["exchange"])
            print(f"  {text}\n> {reply['text']}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with motet.connect(sys.argv[1], MultilingualChat) as served:
            talk(served, FRENCH)
        talk_by_http(sys.argv[1], ENGLISH)
    else:
        with motet.run(app, resources={"gpus": 1}) as own:
            talk(own, FRENCH)
