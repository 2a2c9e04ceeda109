"""The words of the terminal page that its script says."""

from typing import Any

from django.utils.translation import gettext


def of_script() -> dict[str, Any]:
    """Return them; `{name}` marks what the script fills in."""
    return {
        "connecting": gettext("Connecting…"),
        "slowPanel": gettext("Waiting for the panel to answer, {seconds} s"),
        "slowNode": gettext("Waiting for {node} to answer, {seconds} s"),
        "opening": gettext("Opening a shell on {node}…"),
        "joining": gettext("Joining the shell…"),
        "waiting": gettext("Waiting for {node}: {why}"),
        "live": gettext("Live"),
        "trip": gettext("Live · {number} ms"),
        "watches": gettext("Watching"),
        "watchesTrip": gettext("Watching · {number} ms"),
        "lost": gettext("Tunnel lost – your shell keeps running. Reconnecting, {seconds} s"),
        "panelLost": gettext(
            "The panel does not answer – your shell keeps running. Reconnecting, {seconds} s"
        ),
        "back": gettext("Connected again, nothing of the output was lost."),
        "backTyped": gettext(
            "Connected again, nothing of the output was lost. What you typed last may not have arrived."
        ),
        "backGap": gettext("Connected again. {size} of the output were not kept."),
        "gap": gettext("{size} of output were not kept here"),
        "earlier": gettext("the output before this is not kept any more"),
        "ended": gettext("The shell ended with exit code {code}."),
        "killed": gettext("The shell was ended by signal {code}."),
        "over": gettext("The shell ended."),
        "closed": gettext("This terminal is closed: {why}"),
        "again": gettext("Press Enter to open a new one."),
        "noShell": gettext("No shell was opened: {why}"),
        "why": _why(),
        "watching": gettext("You are watching, what you type is not sent."),
        "mayType": gettext("You may type into this shell now."),
        "mayWatch": gettext("You may only watch this shell now, what you type is not sent."),
        "notSent": gettext("Not sent: what is typed while the connection is lost is not kept."),
        "notRead": gettext("Not sent: the program does not read what was typed before."),
        "notEnded": gettext("The shell could not be ended: {why}"),
        "size": gettext("{cols}×{rows}"),
        "smaller": gettext("The terminal is as small as the smallest window that shows it."),
        "alone": gettext("only you"),
        "you": gettext("{name} (you)"),
        "typist": gettext("{name} types"),
        "viewer": gettext("{name} watches"),
        "opener": gettext("opened by {name}"),
        "link": gettext("The program on the node shows this link. Open it in a new tab?"),
        "pasteLines": gettext("Paste {lines} lines into the terminal?"),
        "pasteSize": gettext("Paste {size} into the terminal?"),
        "pasteTooLong": gettext("This is {size}, at most {most} can be pasted. Upload a file instead."),
        "noClipboard": gettext("The browser does not let this page read the clipboard: press Ctrl+Shift+V."),
        "shared": gettext("Link copied. Who may open shells on this server can watch with it, not type."),
        "copied": gettext("Copied"),
        "notCopied": gettext("The browser did not let this page copy: select the text and press Ctrl+C."),
        "wantsToCopy": gettext("The program on the node wants to put {size} into your clipboard."),
        "found": gettext("{index} of {count}"),
        "notFound": gettext("Not found"),
        "bytes": gettext("{number} bytes"),
        "kib": gettext("{number} KiB"),
        "mib": gettext("{number} MiB"),
    }


def who(opener: str, *, mine: bool) -> str:
    """Return who opened a shell."""
    if mine:
        return gettext("your shell")
    return (
        gettext("opened by {name}").format(name=opener) if opener else gettext("nobody knows who opened it")
    )


def looking(names: list[str]) -> str:
    """Return who has a shell open now."""
    return (
        gettext("open at {names}").format(names=", ".join(names)) if names else gettext("nobody looks at it")
    )


def _why() -> dict[str, str]:
    """Return in words why there is no shell, by code, with the next step."""
    gone = gettext(
        "the node knows this shell no more: the agent was restarted, or nobody had it open for too long"
    )
    return {
        "not_connected": gettext("its agent is not connected. The shell opens as soon as it is back"),
        "bus_unavailable": gettext("the workers of the panel cannot reach each other"),
        "forbidden": gettext("the node’s own policy allows no shells"),
        "not_allowed": gettext("you may not open shells here, or the server is suspended"),
        "revoked": gettext("you may not open shells here any more, or the server was suspended"),
        "suspended": gettext("the server was suspended"),
        "logged_out": gettext("your login has ended: reload this page to log in again"),
        "deleted": gettext("the server was deleted"),
        "second_factor": gettext("confirm with your second factor first"),
        "busy": gettext("the node has as many shells as it allows. End one of them"),
        "too_many_shells": gettext("you have as many shells on this node as one person may. End one of them"),
        "too_many_terminals": gettext("you have too many terminals open. Close one of them"),
        "not_found": gettext("there is no such shell"),
        "exited": gettext("it ended already"),
        "closed": gettext("it was ended from the panel"),
        "gone": gone,
        "unknown_service": gettext("its agent offers no shells: give it the agent of this panel’s version"),
        "unknown_action": gettext("its agent offers no shells: give it the agent of this panel’s version"),
    }
