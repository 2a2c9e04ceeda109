"""`tunnel add NAME`: make a server, and with `--env` the file its agent needs."""

from django.core.exceptions import ValidationError
from django.core.management.base import CommandParser
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from servers import identity
from servers.models import Server, Tag
from tunnel.cli import agent_env
from tunnel.cli.call import Call
from tunnel.cli.exits import Exit, Failure

NAME = "add"
HELP = "add a server; --env prints the .env of its agent, with the secret, once"


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="how people call it")
    parser.add_argument(
        "--agent-id", metavar="A", help="what its agent calls itself; made from the name otherwise"
    )
    parser.add_argument(
        "--tag", action="append", default=[], metavar="T", help="a tag to put on it; may be repeated"
    )
    parser.add_argument(
        "--env", action="store_true", help="print the agent's .env, with the secret, this once"
    )


@sensitive_variables()
def run(call: Call) -> int:
    """Add the server and print what its agent needs."""
    try:
        server, secret = _create(call)
    except ValidationError as exc:
        raise Failure(f"{call.options.name} was not added: {_sentence(exc)}", Exit.USAGE) from exc
    if call.options.env:
        call.out.note(f"added {server.name}")
        agent_env.tell(call.out, server, secret)
        return Exit.DONE
    if call.out.as_json:
        call.out.record({"name": server.name, "agent_id": server.agent_id})
    else:
        call.out.line(f"added {server.name}, agent id {server.agent_id}")
    call.out.note(
        f"its agent's .env: manage.py tunnel rotate-secret {server.agent_id} --env (or add --env next time)"
    )
    return Exit.DONE


@sensitive_variables()
@transaction.atomic
def _create(call: Call) -> tuple[Server, str]:
    tags = [_tag(name) for name in dict.fromkeys(call.options.tag)]
    server, secret = identity.create(call.options.name, agent_id=call.options.agent_id, by=call.actor)
    server.tags.set(tags)
    return server, secret


def _tag(name: str) -> Tag:
    tag = Tag.objects.filter(name=name).first() or Tag(name=name)
    if tag.pk is None:
        tag.full_clean()
        tag.save()
    return tag


def _sentence(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return "; ".join(f"{field}: {' '.join(words)}" for field, words in error.message_dict.items())
