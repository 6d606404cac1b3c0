from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_CREATED: _ClassVar[JobState]
    JOB_STATE_CONFIRMING: _ClassVar[JobState]
    JOB_STATE_WAITING_FOR_APPROVAL: _ClassVar[JobState]
    JOB_STATE_DOWNLOADING: _ClassVar[JobState]
    JOB_STATE_INSTALLING: _ClassVar[JobState]
    JOB_STATE_ACTIVATING: _ClassVar[JobState]
    JOB_STATE_VERIFYING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_ROLLED_BACK: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_REJECTED: _ClassVar[JobState]
    JOB_STATE_CANCELED: _ClassVar[JobState]
    JOB_STATE_TIMED_OUT: _ClassVar[JobState]

class SlotState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SLOT_STATE_UNSPECIFIED: _ClassVar[SlotState]
    SLOT_STATE_EMPTY: _ClassVar[SlotState]
    SLOT_STATE_STAGED: _ClassVar[SlotState]
    SLOT_STATE_TRIAL: _ClassVar[SlotState]
    SLOT_STATE_CONFIRMED: _ClassVar[SlotState]
    SLOT_STATE_INVALID: _ClassVar[SlotState]

class Evidence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVIDENCE_UNSPECIFIED: _ClassVar[Evidence]
    EVIDENCE_REPORTED_BY_GATEWAY: _ClassVar[Evidence]
    EVIDENCE_SIGNED_BY_ECU: _ClassVar[Evidence]

class PayloadKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYLOAD_KIND_UNSPECIFIED: _ClassVar[PayloadKind]
    PAYLOAD_KIND_CONTAINER: _ClassVar[PayloadKind]
    PAYLOAD_KIND_PROGRAM: _ClassVar[PayloadKind]

class VersionOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_ORDER_UNSPECIFIED: _ClassVar[VersionOrder]
    VERSION_ORDER_SEMVER: _ClassVar[VersionOrder]
    VERSION_ORDER_NUMERIC: _ClassVar[VersionOrder]
    VERSION_ORDER_LIST: _ClassVar[VersionOrder]
    VERSION_ORDER_NONE: _ClassVar[VersionOrder]

class TransferPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSFER_POLICY_UNSPECIFIED: _ClassVar[TransferPolicy]
    TRANSFER_POLICY_AUTO: _ClassVar[TransferPolicy]
    TRANSFER_POLICY_FULL: _ClassVar[TransferPolicy]
    TRANSFER_POLICY_DELTA: _ClassVar[TransferPolicy]

class RefusedVehicles(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSED_VEHICLES_UNSPECIFIED: _ClassVar[RefusedVehicles]
    REFUSED_VEHICLES_REFUSE: _ClassVar[RefusedVehicles]
    REFUSED_VEHICLES_EXCLUDE: _ClassVar[RefusedVehicles]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_CREATED: JobState
JOB_STATE_CONFIRMING: JobState
JOB_STATE_WAITING_FOR_APPROVAL: JobState
JOB_STATE_DOWNLOADING: JobState
JOB_STATE_INSTALLING: JobState
JOB_STATE_ACTIVATING: JobState
JOB_STATE_VERIFYING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_ROLLED_BACK: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_REJECTED: JobState
JOB_STATE_CANCELED: JobState
JOB_STATE_TIMED_OUT: JobState
SLOT_STATE_UNSPECIFIED: SlotState
SLOT_STATE_EMPTY: SlotState
SLOT_STATE_STAGED: SlotState
SLOT_STATE_TRIAL: SlotState
SLOT_STATE_CONFIRMED: SlotState
SLOT_STATE_INVALID: SlotState
EVIDENCE_UNSPECIFIED: Evidence
EVIDENCE_REPORTED_BY_GATEWAY: Evidence
EVIDENCE_SIGNED_BY_ECU: Evidence
PAYLOAD_KIND_UNSPECIFIED: PayloadKind
PAYLOAD_KIND_CONTAINER: PayloadKind
PAYLOAD_KIND_PROGRAM: PayloadKind
VERSION_ORDER_UNSPECIFIED: VersionOrder
VERSION_ORDER_SEMVER: VersionOrder
VERSION_ORDER_NUMERIC: VersionOrder
VERSION_ORDER_LIST: VersionOrder
VERSION_ORDER_NONE: VersionOrder
TRANSFER_POLICY_UNSPECIFIED: TransferPolicy
TRANSFER_POLICY_AUTO: TransferPolicy
TRANSFER_POLICY_FULL: TransferPolicy
TRANSFER_POLICY_DELTA: TransferPolicy
REFUSED_VEHICLES_UNSPECIFIED: RefusedVehicles
REFUSED_VEHICLES_REFUSE: RefusedVehicles
REFUSED_VEHICLES_EXCLUDE: RefusedVehicles

class Slot(_message.Message):
    __slots__ = ("state", "version", "security_counter")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SECURITY_COUNTER_FIELD_NUMBER: _ClassVar[int]
    state: SlotState
    version: str
    security_counter: int
    def __init__(self, state: _Optional[_Union[SlotState, str]] = ..., version: _Optional[str] = ..., security_counter: _Optional[int] = ...) -> None: ...

class EcuReport(_message.Message):
    __slots__ = ("ecu", "serial", "hardware_id", "software_version", "active_slot", "slots", "dtcs", "evidence")
    ECU_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_ID_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_SLOT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    DTCS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    ecu: str
    serial: str
    hardware_id: str
    software_version: str
    active_slot: int
    slots: _containers.RepeatedCompositeFieldContainer[Slot]
    dtcs: _containers.RepeatedScalarFieldContainer[str]
    evidence: Evidence
    def __init__(self, ecu: _Optional[str] = ..., serial: _Optional[str] = ..., hardware_id: _Optional[str] = ..., software_version: _Optional[str] = ..., active_slot: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., dtcs: _Optional[_Iterable[str]] = ..., evidence: _Optional[_Union[Evidence, str]] = ...) -> None: ...

class CheckInRequest(_message.Message):
    __slots__ = ("vin", "ecus", "job_id", "version_report")
    VIN_FIELD_NUMBER: _ClassVar[int]
    ECUS_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_REPORT_FIELD_NUMBER: _ClassVar[int]
    vin: str
    ecus: _containers.RepeatedCompositeFieldContainer[EcuReport]
    job_id: str
    version_report: bytes
    def __init__(self, vin: _Optional[str] = ..., ecus: _Optional[_Iterable[_Union[EcuReport, _Mapping]]] = ..., job_id: _Optional[str] = ..., version_report: _Optional[bytes] = ...) -> None: ...

class CheckInResponse(_message.Message):
    __slots__ = ("decision", "job_id", "job_state", "reason", "poll_interval_s", "report_nonce")
    class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DECISION_UNSPECIFIED: _ClassVar[CheckInResponse.Decision]
        DECISION_NO_UPDATE: _ClassVar[CheckInResponse.Decision]
        DECISION_UPDATE_AVAILABLE: _ClassVar[CheckInResponse.Decision]
        DECISION_REFUSED: _ClassVar[CheckInResponse.Decision]
    DECISION_UNSPECIFIED: CheckInResponse.Decision
    DECISION_NO_UPDATE: CheckInResponse.Decision
    DECISION_UPDATE_AVAILABLE: CheckInResponse.Decision
    DECISION_REFUSED: CheckInResponse.Decision
    DECISION_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    POLL_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    REPORT_NONCE_FIELD_NUMBER: _ClassVar[int]
    decision: CheckInResponse.Decision
    job_id: str
    job_state: JobState
    reason: str
    poll_interval_s: float
    report_nonce: bytes
    def __init__(self, decision: _Optional[_Union[CheckInResponse.Decision, str]] = ..., job_id: _Optional[str] = ..., job_state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., poll_interval_s: _Optional[float] = ..., report_nonce: _Optional[bytes] = ...) -> None: ...

class GetManifestRequest(_message.Message):
    __slots__ = ("vin", "job_id")
    VIN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    vin: str
    job_id: str
    def __init__(self, vin: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class GetManifestResponse(_message.Message):
    __slots__ = ("metadata", "artifact_base_url", "image_metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class ImageMetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_BASE_URL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_METADATA_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, bytes]
    artifact_base_url: str
    image_metadata: _containers.ScalarMap[str, bytes]
    def __init__(self, metadata: _Optional[_Mapping[str, bytes]] = ..., artifact_base_url: _Optional[str] = ..., image_metadata: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class AttestTimeRequest(_message.Message):
    __slots__ = ("vin", "nonce")
    VIN_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    vin: str
    nonce: bytes
    def __init__(self, vin: _Optional[str] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class AttestTimeResponse(_message.Message):
    __slots__ = ("attestation",)
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    attestation: bytes
    def __init__(self, attestation: _Optional[bytes] = ...) -> None: ...

class PublishImagesRequest(_message.Message):
    __slots__ = ("metadata",)
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, bytes]
    def __init__(self, metadata: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class PublishImagesResponse(_message.Message):
    __slots__ = ("snapshot_version",)
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    snapshot_version: int
    def __init__(self, snapshot_version: _Optional[int] = ...) -> None: ...

class EcuProgress(_message.Message):
    __slots__ = ("ecu", "phase", "bytes_done", "bytes_total", "bytes_per_s")
    ECU_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BYTES_DONE_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    ecu: str
    phase: str
    bytes_done: int
    bytes_total: int
    bytes_per_s: float
    def __init__(self, ecu: _Optional[str] = ..., phase: _Optional[str] = ..., bytes_done: _Optional[int] = ..., bytes_total: _Optional[int] = ..., bytes_per_s: _Optional[float] = ...) -> None: ...

class UpdateStatusRequest(_message.Message):
    __slots__ = ("vin", "job_id", "state", "reason", "transition_seq", "progress", "ecus", "version_report")
    VIN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_SEQ_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ECUS_FIELD_NUMBER: _ClassVar[int]
    VERSION_REPORT_FIELD_NUMBER: _ClassVar[int]
    vin: str
    job_id: str
    state: JobState
    reason: str
    transition_seq: int
    progress: _containers.RepeatedCompositeFieldContainer[EcuProgress]
    ecus: _containers.RepeatedCompositeFieldContainer[EcuReport]
    version_report: bytes
    def __init__(self, vin: _Optional[str] = ..., job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., transition_seq: _Optional[int] = ..., progress: _Optional[_Iterable[_Union[EcuProgress, _Mapping]]] = ..., ecus: _Optional[_Iterable[_Union[EcuReport, _Mapping]]] = ..., version_report: _Optional[bytes] = ...) -> None: ...

class UpdateStatusResponse(_message.Message):
    __slots__ = ("state", "cancel_requested", "report_nonce")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    REPORT_NONCE_FIELD_NUMBER: _ClassVar[int]
    state: JobState
    cancel_requested: bool
    report_nonce: bytes
    def __init__(self, state: _Optional[_Union[JobState, str]] = ..., cancel_requested: _Optional[bool] = ..., report_nonce: _Optional[bytes] = ...) -> None: ...

class RegisterVehicleRequest(_message.Message):
    __slots__ = ("vin", "ecus", "gateway_key")
    class Ecu(_message.Message):
        __slots__ = ("ecu", "serial", "hardware_id", "public_key", "image_number", "payload", "version_order", "known_versions", "refuses_patches", "report_key")
        ECU_FIELD_NUMBER: _ClassVar[int]
        SERIAL_FIELD_NUMBER: _ClassVar[int]
        HARDWARE_ID_FIELD_NUMBER: _ClassVar[int]
        PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
        IMAGE_NUMBER_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        VERSION_ORDER_FIELD_NUMBER: _ClassVar[int]
        KNOWN_VERSIONS_FIELD_NUMBER: _ClassVar[int]
        REFUSES_PATCHES_FIELD_NUMBER: _ClassVar[int]
        REPORT_KEY_FIELD_NUMBER: _ClassVar[int]
        ecu: str
        serial: str
        hardware_id: str
        public_key: bytes
        image_number: int
        payload: PayloadKind
        version_order: VersionOrder
        known_versions: _containers.RepeatedScalarFieldContainer[str]
        refuses_patches: bool
        report_key: bytes
        def __init__(self, ecu: _Optional[str] = ..., serial: _Optional[str] = ..., hardware_id: _Optional[str] = ..., public_key: _Optional[bytes] = ..., image_number: _Optional[int] = ..., payload: _Optional[_Union[PayloadKind, str]] = ..., version_order: _Optional[_Union[VersionOrder, str]] = ..., known_versions: _Optional[_Iterable[str]] = ..., refuses_patches: _Optional[bool] = ..., report_key: _Optional[bytes] = ...) -> None: ...
    VIN_FIELD_NUMBER: _ClassVar[int]
    ECUS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_KEY_FIELD_NUMBER: _ClassVar[int]
    vin: str
    ecus: _containers.RepeatedCompositeFieldContainer[RegisterVehicleRequest.Ecu]
    gateway_key: bytes
    def __init__(self, vin: _Optional[str] = ..., ecus: _Optional[_Iterable[_Union[RegisterVehicleRequest.Ecu, _Mapping]]] = ..., gateway_key: _Optional[bytes] = ...) -> None: ...

class RegisterVehicleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetVehicleAttributesRequest(_message.Message):
    __slots__ = ("vin", "attributes", "remove")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VIN_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    vin: str
    attributes: _containers.ScalarMap[str, str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, vin: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class Vehicle(_message.Message):
    __slots__ = ("vin", "attributes", "ecus")
    class Ecu(_message.Message):
        __slots__ = ("ecu", "hardware_id", "software_version")
        ECU_FIELD_NUMBER: _ClassVar[int]
        HARDWARE_ID_FIELD_NUMBER: _ClassVar[int]
        SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
        ecu: str
        hardware_id: str
        software_version: str
        def __init__(self, ecu: _Optional[str] = ..., hardware_id: _Optional[str] = ..., software_version: _Optional[str] = ...) -> None: ...
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VIN_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ECUS_FIELD_NUMBER: _ClassVar[int]
    vin: str
    attributes: _containers.ScalarMap[str, str]
    ecus: _containers.RepeatedCompositeFieldContainer[Vehicle.Ecu]
    def __init__(self, vin: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., ecus: _Optional[_Iterable[_Union[Vehicle.Ecu, _Mapping]]] = ...) -> None: ...

class ListVehiclesRequest(_message.Message):
    __slots__ = ("where", "page_size", "page_token")
    WHERE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    where: str
    page_size: int
    page_token: str
    def __init__(self, where: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVehiclesResponse(_message.Message):
    __slots__ = ("vehicles", "next_page_token")
    VEHICLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    vehicles: _containers.RepeatedCompositeFieldContainer[Vehicle]
    next_page_token: str
    def __init__(self, vehicles: _Optional[_Iterable[_Union[Vehicle, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateCampaignRequest(_message.Message):
    __slots__ = ("name", "release_notes", "vins", "images", "transfer", "manifest_lifetime_s", "approval_timeout_s", "encrypt", "conditions", "texts", "request_id", "refused_vehicles", "conditions_limit_s", "driver", "needs_approval", "where", "dry_run", "rollout")
    class Image(_message.Message):
        __slots__ = ("hardware_id", "image", "base_image", "program")
        HARDWARE_ID_FIELD_NUMBER: _ClassVar[int]
        IMAGE_FIELD_NUMBER: _ClassVar[int]
        BASE_IMAGE_FIELD_NUMBER: _ClassVar[int]
        PROGRAM_FIELD_NUMBER: _ClassVar[int]
        hardware_id: str
        image: bytes
        base_image: bytes
        program: CreateCampaignRequest.Program
        def __init__(self, hardware_id: _Optional[str] = ..., image: _Optional[bytes] = ..., base_image: _Optional[bytes] = ..., program: _Optional[_Union[CreateCampaignRequest.Program, _Mapping]] = ...) -> None: ...
    class Program(_message.Message):
        __slots__ = ("format", "version", "start_address", "segments")
        class Segment(_message.Message):
            __slots__ = ("address", "length")
            ADDRESS_FIELD_NUMBER: _ClassVar[int]
            LENGTH_FIELD_NUMBER: _ClassVar[int]
            address: int
            length: int
            def __init__(self, address: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...
        FORMAT_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        START_ADDRESS_FIELD_NUMBER: _ClassVar[int]
        SEGMENTS_FIELD_NUMBER: _ClassVar[int]
        format: str
        version: str
        start_address: int
        segments: _containers.RepeatedCompositeFieldContainer[CreateCampaignRequest.Program.Segment]
        def __init__(self, format: _Optional[str] = ..., version: _Optional[str] = ..., start_address: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[CreateCampaignRequest.Program.Segment, _Mapping]]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NOTES_FIELD_NUMBER: _ClassVar[int]
    VINS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ENCRYPT_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSED_VEHICLES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    NEEDS_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    release_notes: str
    vins: _containers.RepeatedScalarFieldContainer[str]
    images: _containers.RepeatedCompositeFieldContainer[CreateCampaignRequest.Image]
    transfer: TransferPolicy
    manifest_lifetime_s: float
    approval_timeout_s: float
    encrypt: bool
    conditions: _containers.RepeatedScalarFieldContainer[str]
    texts: _containers.RepeatedCompositeFieldContainer[DriverTexts]
    request_id: str
    refused_vehicles: RefusedVehicles
    conditions_limit_s: float
    driver: DriverRules
    needs_approval: bool
    where: str
    dry_run: bool
    rollout: Rollout
    def __init__(self, name: _Optional[str] = ..., release_notes: _Optional[str] = ..., vins: _Optional[_Iterable[str]] = ..., images: _Optional[_Iterable[_Union[CreateCampaignRequest.Image, _Mapping]]] = ..., transfer: _Optional[_Union[TransferPolicy, str]] = ..., manifest_lifetime_s: _Optional[float] = ..., approval_timeout_s: _Optional[float] = ..., encrypt: _Optional[bool] = ..., conditions: _Optional[_Iterable[str]] = ..., texts: _Optional[_Iterable[_Union[DriverTexts, _Mapping]]] = ..., request_id: _Optional[str] = ..., refused_vehicles: _Optional[_Union[RefusedVehicles, str]] = ..., conditions_limit_s: _Optional[float] = ..., driver: _Optional[_Union[DriverRules, _Mapping]] = ..., needs_approval: _Optional[bool] = ..., where: _Optional[str] = ..., dry_run: _Optional[bool] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("waves", "success_percent", "error_percent", "max_per_minute", "start_at", "end_at")
    class Wave(_message.Message):
        __slots__ = ("share_percent", "vehicles")
        SHARE_PERCENT_FIELD_NUMBER: _ClassVar[int]
        VEHICLES_FIELD_NUMBER: _ClassVar[int]
        share_percent: float
        vehicles: int
        def __init__(self, share_percent: _Optional[float] = ..., vehicles: _Optional[int] = ...) -> None: ...
    WAVES_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    waves: _containers.RepeatedCompositeFieldContainer[Rollout.Wave]
    success_percent: float
    error_percent: float
    max_per_minute: int
    start_at: float
    end_at: float
    def __init__(self, waves: _Optional[_Iterable[_Union[Rollout.Wave, _Mapping]]] = ..., success_percent: _Optional[float] = ..., error_percent: _Optional[float] = ..., max_per_minute: _Optional[int] = ..., start_at: _Optional[float] = ..., end_at: _Optional[float] = ...) -> None: ...

class RolloutStatus(_message.Message):
    __slots__ = ("rules", "open_waves", "paused", "paused_reason", "waves")
    class WaveCounts(_message.Message):
        __slots__ = ("jobs", "held", "succeeded", "failed", "left_out")
        JOBS_FIELD_NUMBER: _ClassVar[int]
        HELD_FIELD_NUMBER: _ClassVar[int]
        SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
        FAILED_FIELD_NUMBER: _ClassVar[int]
        LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
        jobs: int
        held: int
        succeeded: int
        failed: int
        left_out: int
        def __init__(self, jobs: _Optional[int] = ..., held: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., left_out: _Optional[int] = ...) -> None: ...
    RULES_FIELD_NUMBER: _ClassVar[int]
    OPEN_WAVES_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_REASON_FIELD_NUMBER: _ClassVar[int]
    WAVES_FIELD_NUMBER: _ClassVar[int]
    rules: Rollout
    open_waves: int
    paused: str
    paused_reason: str
    waves: _containers.RepeatedCompositeFieldContainer[RolloutStatus.WaveCounts]
    def __init__(self, rules: _Optional[_Union[Rollout, _Mapping]] = ..., open_waves: _Optional[int] = ..., paused: _Optional[str] = ..., paused_reason: _Optional[str] = ..., waves: _Optional[_Iterable[_Union[RolloutStatus.WaveCounts, _Mapping]]] = ...) -> None: ...

class DriverTexts(_message.Message):
    __slots__ = ("language", "name", "release_notes", "purpose", "unavailable", "instructions", "obligation", "contact")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NOTES_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    OBLIGATION_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    language: str
    name: str
    release_notes: str
    purpose: str
    unavailable: str
    instructions: str
    obligation: str
    contact: str
    def __init__(self, language: _Optional[str] = ..., name: _Optional[str] = ..., release_notes: _Optional[str] = ..., purpose: _Optional[str] = ..., unavailable: _Optional[str] = ..., instructions: _Optional[str] = ..., obligation: _Optional[str] = ..., contact: _Optional[str] = ...) -> None: ...

class DriverRules(_message.Message):
    __slots__ = ("max_reminders", "asks_before_download", "install_by")
    MAX_REMINDERS_FIELD_NUMBER: _ClassVar[int]
    ASKS_BEFORE_DOWNLOAD_FIELD_NUMBER: _ClassVar[int]
    INSTALL_BY_FIELD_NUMBER: _ClassVar[int]
    max_reminders: int
    asks_before_download: bool
    install_by: int
    def __init__(self, max_reminders: _Optional[int] = ..., asks_before_download: _Optional[bool] = ..., install_by: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "vin", "state", "reason", "progress", "ecus", "dropped_reports", "dropped_reason", "two_reporters", "campaign_id", "updated_at")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VIN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ECUS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_REPORTS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_REASON_FIELD_NUMBER: _ClassVar[int]
    TWO_REPORTERS_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    vin: str
    state: JobState
    reason: str
    progress: _containers.RepeatedCompositeFieldContainer[EcuProgress]
    ecus: _containers.RepeatedCompositeFieldContainer[EcuReport]
    dropped_reports: int
    dropped_reason: str
    two_reporters: bool
    campaign_id: str
    updated_at: float
    def __init__(self, job_id: _Optional[str] = ..., vin: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., progress: _Optional[_Iterable[_Union[EcuProgress, _Mapping]]] = ..., ecus: _Optional[_Iterable[_Union[EcuReport, _Mapping]]] = ..., dropped_reports: _Optional[int] = ..., dropped_reason: _Optional[str] = ..., two_reporters: _Optional[bool] = ..., campaign_id: _Optional[str] = ..., updated_at: _Optional[float] = ...) -> None: ...

class Campaign(_message.Message):
    __slots__ = ("campaign_id", "name", "release_notes", "jobs", "created_at", "excluded", "counts", "created_by", "needs_approval", "approved_by", "approved_at", "rollout")
    class Excluded(_message.Message):
        __slots__ = ("vin", "reason")
        VIN_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        vin: str
        reason: str
        def __init__(self, vin: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RELEASE_NOTES_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    NEEDS_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BY_FIELD_NUMBER: _ClassVar[int]
    APPROVED_AT_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    name: str
    release_notes: str
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    created_at: float
    excluded: _containers.RepeatedCompositeFieldContainer[Campaign.Excluded]
    counts: _containers.RepeatedCompositeFieldContainer[JobCount]
    created_by: str
    needs_approval: bool
    approved_by: str
    approved_at: float
    rollout: RolloutStatus
    def __init__(self, campaign_id: _Optional[str] = ..., name: _Optional[str] = ..., release_notes: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., created_at: _Optional[float] = ..., excluded: _Optional[_Iterable[_Union[Campaign.Excluded, _Mapping]]] = ..., counts: _Optional[_Iterable[_Union[JobCount, _Mapping]]] = ..., created_by: _Optional[str] = ..., needs_approval: _Optional[bool] = ..., approved_by: _Optional[str] = ..., approved_at: _Optional[float] = ..., rollout: _Optional[_Union[RolloutStatus, _Mapping]] = ...) -> None: ...

class PauseCampaignRequest(_message.Message):
    __slots__ = ("campaign_id", "reason")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    reason: str
    def __init__(self, campaign_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryCampaignRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class ResumeCampaignRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class ApproveCampaignRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class JobCount(_message.Message):
    __slots__ = ("state", "jobs")
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    state: JobState
    jobs: int
    def __init__(self, state: _Optional[_Union[JobState, str]] = ..., jobs: _Optional[int] = ...) -> None: ...

class GetCampaignRequest(_message.Message):
    __slots__ = ("campaign_id", "without_jobs", "changes_only")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_JOBS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_ONLY_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    without_jobs: bool
    changes_only: bool
    def __init__(self, campaign_id: _Optional[str] = ..., without_jobs: _Optional[bool] = ..., changes_only: _Optional[bool] = ...) -> None: ...

class ListCampaignsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "without_jobs")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_JOBS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    without_jobs: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., without_jobs: _Optional[bool] = ...) -> None: ...

class ListCampaignsResponse(_message.Message):
    __slots__ = ("campaigns", "next_page_token")
    CAMPAIGNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    campaigns: _containers.RepeatedCompositeFieldContainer[Campaign]
    next_page_token: str
    def __init__(self, campaigns: _Optional[_Iterable[_Union[Campaign, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("campaign_id", "states", "vin_prefix", "page_size", "page_token")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    VIN_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    vin_prefix: str
    page_size: int
    page_token: str
    def __init__(self, campaign_id: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., vin_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AbandonJobRequest(_message.Message):
    __slots__ = ("campaign_id", "vin", "reason")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    VIN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    vin: str
    reason: str
    def __init__(self, campaign_id: _Optional[str] = ..., vin: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelCampaignRequest(_message.Message):
    __slots__ = ("campaign_id", "reason", "only_not_begun")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ONLY_NOT_BEGUN_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    reason: str
    only_not_begun: bool
    def __init__(self, campaign_id: _Optional[str] = ..., reason: _Optional[str] = ..., only_not_begun: _Optional[bool] = ...) -> None: ...
