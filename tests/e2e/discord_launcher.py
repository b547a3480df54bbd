"""`model-trainer` as it is, in a process whose discord.py takes a stand-in for Discord.

`python -m tests.e2e.discord_launcher API_URL GATEWAY_URL discord`: what follows the two addresses is the command line.
"""

import sys

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from model_trainer.__main__ import main


def launch() -> None:
    """Overrides the two attributes and becomes the command."""
    program, Route.BASE, gateway_url, *arguments = sys.argv
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    sys.argv = [program, *arguments]
    main()


if __name__ == "__main__":
    launch()
