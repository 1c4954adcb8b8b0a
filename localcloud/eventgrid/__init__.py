"""
Event Grid on this laptop: subscriptions, delivery with retries and dead letters, storage events, topics of one's own.

    grid = EventGrid(parse_all(default_subscriptions("http://127.0.0.1:7071")), pace=0.1, store=data / "events.db")
    Driver(grid).start()
    BlobWatcher(connection_string, "datasets", grid.publish, seen=data / "events.db").start()

Sources: delivery-and-retry (Microsoft Learn, 2026-02), webhook-event-delivery, event-schema-blob-storage, cloud-event-schema.
"""

from localcloud.eventgrid.blobs import BlobWatcher
from localcloud.eventgrid.driver import Driver
from localcloud.eventgrid.grid import EventGrid
from localcloud.eventgrid.subscriptions import Subscription, WrongSubscription, default_subscriptions, parse_all, read

__all__ = [
    "BlobWatcher",
    "Driver",
    "EventGrid",
    "Subscription",
    "WrongSubscription",
    "default_subscriptions",
    "parse_all",
    "read",
]
