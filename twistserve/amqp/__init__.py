"""Consumers of AMQP 0-9-1: what a project imports from here to handle messages (docs/amqp.md)."""

from __future__ import annotations

from twistserve.amqp.consumer import Consumer
from twistserve.amqp.failures import Reject
from twistserve.amqp.handlers import Handler
from twistserve.amqp.message import Message
from twistserve.amqp.publishing import PublishError
from twistserve.amqp.topic_handler import TopicHandler

__all__ = ["Consumer", "Handler", "Message", "PublishError", "Reject", "TopicHandler"]
