"""What several resources share: the envelope that Azure Resource Manager puts around a resource, identities, sizes to sell."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from localcloud.azureml.shapes import words
from localcloud.azureml.shapes.shape import Fields

Texts = dict[str, str | None]  # tags, properties: names and texts
Guid = Annotated[str, Meta(min_length=36, max_length=36, pattern=r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")]
Word = Annotated[str, Meta(min_length=1, pattern="[a-zA-Z0-9_]")]  # text that is more than punctuation


class SystemData(Fields, frozen=True, kw_only=True):
    """Who made it and when; a client may only send it back."""

    created_by: str | None = None
    created_by_type: str | None = None
    created_at: str | None = None
    last_modified_by: str | None = None
    last_modified_by_type: str | None = None
    last_modified_at: str | None = None


class Envelope(Fields, frozen=True, kw_only=True):
    """What every resource has beside its properties."""

    id: str | None = None
    name: str | None = None
    system_data: SystemData | None = None


class UserIdentity(Fields, frozen=True, kw_only=True):
    principal_id: Guid | None = None
    client_id: Guid | None = None


class Identity(Fields, frozen=True, kw_only=True):
    """A managed identity."""

    type: words.IdentityType
    user_assigned_identities: dict[str, UserIdentity | None] | None = None
    principal_id: Guid | None = None
    tenant_id: Guid | None = None


class Sku(Fields, frozen=True, kw_only=True):
    name: str
    tier: Literal["Free", "Basic", "Standard", "Premium"] | None = None
    size: str | None = None
    family: str | None = None
    capacity: int | None = None  # of a deployment: its instances


class Tracked(Envelope, frozen=True, kw_only=True):
    """A resource with a place."""

    location: str
    tags: Texts | None = None
    identity: Identity | None = None
    kind: str | None = None
    sku: Sku | None = None


class AutoDelete(Fields, frozen=True, kw_only=True):
    condition: words.DeleteCondition | None = None
    value: str | None = None


class IntellectualProperty(Fields, frozen=True, kw_only=True):
    publisher: Word
    protection_level: words.ProtectionLevel | None = None
