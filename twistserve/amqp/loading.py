"""From the dotted name of a handler to the object that handles messages."""

from __future__ import annotations

import inspect

from twistserve.amqp.handlers import Handler
from twistserve.amqp.topic_handler import TopicHandler
from twistserve.errors import StartError, describe
from twistserve.services.loading import import_dotted


def load_handler(dotted: str) -> Handler:
    """Import the class and make its object. Blocks; main thread, once Django is set up. Raises `StartError`."""
    what = f"the handler {dotted}"
    found = import_dotted(what, dotted)
    if not (isinstance(found, type) and issubclass(found, Handler)):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
        raise StartError(
            f"{what} is {kind}, which is no handler: derive the class from twistserve.amqp.Handler or .TopicHandler"
        )
    base, method = (TopicHandler, "on_message") if issubclass(found, TopicHandler) else (Handler, "handle")
    if getattr(found, method) is getattr(base, method):
        raise StartError(f"{what} has no method {method}: it is called with each message")
    if inspect.iscoroutinefunction(getattr(found, method)):
        raise StartError(
            f"{what}: {method} is a coroutine, and messages are handled in threads: define it without async"
        )
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise StartError(f"{what} cannot be made: {describe(error)}") from error
