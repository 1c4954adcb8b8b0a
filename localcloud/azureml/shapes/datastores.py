"""A datastore: a name for a place in a storage account, and what opens it. Of Azure's kinds the local cloud plays blobs."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Elsewhere, Fields, Kinds, Shape
from localcloud.azureml.shapes.versions import Limit


class KeySecrets(Fields, frozen=True, kw_only=True):
    secrets_type: words.SecretsType
    key: str | None = None


class SasSecrets(Fields, frozen=True, kw_only=True):
    secrets_type: words.SecretsType
    sas_token: str | None = None


class PrincipalSecrets(Fields, frozen=True, kw_only=True):
    secrets_type: words.SecretsType
    client_secret: str | None = None


class CertificateSecrets(Fields, frozen=True, kw_only=True):
    secrets_type: words.SecretsType
    certificate: str | None = None


class AccountKey(Fields, frozen=True, kw_only=True, tag_field="credentialsType", tag="AccountKey"):
    secrets: KeySecrets


class Sas(Fields, frozen=True, kw_only=True, tag_field="credentialsType", tag="Sas"):
    secrets: SasSecrets


class NoCredentials(Fields, frozen=True, kw_only=True, tag_field="credentialsType", tag="None"):
    """The identity of who reads."""


class ServicePrincipal(Fields, frozen=True, kw_only=True, tag_field="credentialsType", tag="ServicePrincipal"):
    client_id: common.Guid
    tenant_id: common.Guid
    secrets: PrincipalSecrets
    authority_url: str | None = None
    resource_url: str | None = None


class Certificate(Fields, frozen=True, kw_only=True, tag_field="credentialsType", tag="Certificate"):
    client_id: common.Guid
    tenant_id: common.Guid
    thumbprint: common.Word
    secrets: CertificateSecrets
    authority_url: str | None = None
    resource_url: str | None = None


class KerberosKeytab(Elsewhere, frozen=True, tag_field="credentialsType", tag="KerberosKeytab"): ...


class KerberosPassword(Elsewhere, frozen=True, tag_field="credentialsType", tag="KerberosPassword"): ...


class Blob(Fields, frozen=True, kw_only=True, tag_field="datastoreType", tag="AzureBlob"):
    credentials: AccountKey | Sas | NoCredentials | ServicePrincipal | Certificate | KerberosKeytab | KerberosPassword
    account_name: str | None = None
    container_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    service_data_access_auth_identity: words.DataIdentity | None = None
    resource_group: str | None = None
    subscription_id: str | None = None
    description: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None
    intellectual_property: common.IntellectualProperty | None = None
    is_default: bool | None = None  # read-only


class DataLakeGen1(Elsewhere, frozen=True, tag_field="datastoreType", tag="AzureDataLakeGen1"): ...


class DataLakeGen2(Elsewhere, frozen=True, tag_field="datastoreType", tag="AzureDataLakeGen2"): ...


class File(Elsewhere, frozen=True, tag_field="datastoreType", tag="AzureFile"): ...


class Hdfs(Elsewhere, frozen=True, tag_field="datastoreType", tag="Hdfs"): ...


class OneLake(Elsewhere, frozen=True, tag_field="datastoreType", tag="OneLake"): ...


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Blob | DataLakeGen1 | DataLakeGen2 | File | Hdfs | OneLake
    type: Literal["Microsoft.MachineLearningServices/workspaces/datastores"] | None = None


def _kinds(body: Body) -> Kinds:
    store = body.properties
    yield "properties.datastoreType", "AzureBlob", store
    if isinstance(store, Blob):
        yield "properties.credentials.credentialsType", "AccountKey, Sas, None, ServicePrincipal or Certificate", store.credentials


DATASTORE = Shape(
    of=Body,
    what="A datastore",
    kinds=_kinds,
    limits=(
        Limit(path="properties.intellectualProperty", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.resourceGroup", since="2023-04-01"),
        Limit(path="properties.subscriptionId", since="2023-04-01"),
    ),
)
