"""
The words of Azure's enumerations. An open enumeration is read without regard to case, a discriminator exactly.

Microsoft's own clients send `systemAssigned` where the type says `SystemAssigned` (azureml's MLflow client, endpoint PUT), so Azure must
read open words that way [inferred]. Its types let an unknown word pass, because a later version may know it; here it is refused.
"""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """One word of an open enumeration, in any case."""

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        wanted = value.lower() if isinstance(value, str) else None
        return next((word for word in cls if word.value.lower() == wanted), None)


class AuthMode(Word):
    AML_TOKEN = "AMLToken"
    KEY = "Key"
    AAD_TOKEN = "AADToken"


class Access(Word):
    """publicNetworkAccess, egressPublicNetworkAccess, dataCollectionMode."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class IdentityType(Word):
    NONE = "None"
    SYSTEM = "SystemAssigned"
    USER = "UserAssigned"
    BOTH = "SystemAssigned,UserAssigned"
    BOTH_SPACED = "SystemAssigned, UserAssigned"  # how Azure Resource Manager itself writes it (common types of its swagger)


class RollingRate(Word):
    YEAR = "Year"
    MONTH = "Month"
    DAY = "Day"
    HOUR = "Hour"
    MINUTE = "Minute"


class ProtectionLevel(Word):
    ALL = "All"
    NONE = "None"


class DeleteCondition(Word):
    CREATED = "CreatedGreaterThan"
    ACCESSED = "LastAccessedGreaterThan"


class InputMode(Word):
    READ_ONLY_MOUNT = "ReadOnlyMount"
    READ_WRITE_MOUNT = "ReadWriteMount"
    DOWNLOAD = "Download"
    DIRECT = "Direct"
    EVAL_MOUNT = "EvalMount"
    EVAL_DOWNLOAD = "EvalDownload"


class OutputMode(Word):
    READ_WRITE_MOUNT = "ReadWriteMount"
    UPLOAD = "Upload"
    DIRECT = "Direct"


class NodeMode(Word):
    """A node's modes, and three that the SDK still reads because it once sent them."""

    READ_ONLY_MOUNT = "ReadOnlyMount"
    READ_WRITE_MOUNT = "ReadWriteMount"
    DOWNLOAD = "Download"
    DIRECT = "Direct"
    EVAL_MOUNT = "EvalMount"
    EVAL_DOWNLOAD = "EvalDownload"
    UPLOAD = "Upload"
    MOUNT = "Mount"
    RO_MOUNT = "RoMount"
    RW_MOUNT = "RwMount"


class Kind(StrEnum):
    """What an input or output is, spelled exactly; the words in capitals are those of 2022-02-01-preview."""

    LITERAL = "literal"
    URI_FILE = "uri_file"
    URI_FOLDER = "uri_folder"
    MLTABLE = "mltable"
    CUSTOM_MODEL = "custom_model"
    MLFLOW_MODEL = "mlflow_model"
    TRITON_MODEL = "triton_model"
    LITERAL_2022 = "Literal"
    URI_FILE_2022 = "UriFile"
    URI_FOLDER_2022 = "UriFolder"
    MLTABLE_2022 = "MLTable"
    CUSTOM_MODEL_2022 = "CustomModel"
    MLFLOW_MODEL_2022 = "MLFlowModel"
    TRITON_MODEL_2022 = "TritonModel"

    @property
    def today(self) -> Kind:
        """The word of the later versions."""
        return _TODAY[self]


_TODAY = {kind: Kind[kind.name.removesuffix("_2022")] for kind in Kind}
KINDS_2022 = frozenset(kind.value for kind in Kind if kind.name.endswith("_2022"))
KINDS = frozenset(kind.value for kind in Kind) - KINDS_2022


class EmailOn(Word):
    COMPLETED = "JobCompleted"
    FAILED = "JobFailed"
    CANCELLED = "JobCancelled"


class Frequency(Word):
    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


class Weekday(Word):
    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class OsType(Word):
    LINUX = "Linux"
    WINDOWS = "Windows"


class AutoRebuild(Word):
    DISABLED = "Disabled"
    ON_BASE_IMAGE_UPDATE = "OnBaseImageUpdate"


class PendingUploadType(Word):
    NONE = "None"
    TEMPORARY_BLOB_REFERENCE = "TemporaryBlobReference"


class LimitsType(Word):
    COMMAND = "Command"
    SWEEP = "Sweep"


class JobTier(Word):
    NULL = "Null"
    SPOT = "Spot"
    BASIC = "Basic"
    STANDARD = "Standard"
    PREMIUM = "Premium"


class Priority(Word):
    DEDICATED = "Dedicated"
    LOW = "LowPriority"


class RemoteLogin(Word):
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    NOT_SPECIFIED = "NotSpecified"


class DataIdentity(Word):
    NONE = "None"
    SYSTEM = "WorkspaceSystemAssignedIdentity"
    USER = "WorkspaceUserAssignedIdentity"


class SecretsType(Word):
    ACCOUNT_KEY = "AccountKey"
    CERTIFICATE = "Certificate"
    SAS = "Sas"
    SERVICE_PRINCIPAL = "ServicePrincipal"
    KERBEROS_PASSWORD = "KerberosPassword"
    KERBEROS_KEYTAB = "KerberosKeytab"


class KeyType(Word):
    PRIMARY = "Primary"
    SECONDARY = "Secondary"


class Container(Word):
    STORAGE_INITIALIZER = "StorageInitializer"
    INFERENCE_SERVER = "InferenceServer"


class QuotaUnit(Word):
    COUNT = "Count"


class RunView(Word):
    ACTIVE = "ACTIVE_ONLY"
    DELETED = "DELETED_ONLY"
    ALL = "ALL"
