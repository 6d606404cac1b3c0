"""The tables of the cloud's database.

* Only portable SQL is used (SQLite, PostgreSQL).
* What must hold whatever a process does is a constraint here: one open job for each vehicle, one manifest of each version.
* Messages that are only passed on (reports, progress) are stored as protobuf bytes.
* Metadata is stored as the bytes that were signed. Serialized again, it might not verify.

The rules of campaigns and jobs are in ``campaigns``.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from otabench.proto.job_states import FINAL_STATES

SCHEMA_VERSION: Final = 15
"""Incremented with every change of a table, together with a step in ``migrations``."""
IS_OPEN: Final = "state NOT IN ({})".format(", ".join(f"'{state}'" for state in sorted(FINAL_STATES)))
"""The condition of a job that has not ended. A new final state needs a migration, because an index holds this text."""
_ID: Final = String(64)  # names.require_safe_name allows 64 characters
_SHA256: Final = String(64)


class Base(DeclarativeBase):
    """All tables."""


class SchemaRow(Base):
    """The version of the tables in this database, in one row."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class VehicleRow(Base):
    """A registered vehicle."""

    __tablename__ = "vehicles"
    vin: Mapped[str] = mapped_column(_ID, primary_key=True)
    gateway_key: Mapped[str] = mapped_column(_SHA256, default="")
    """Ed25519 key, hex, that verifies its version reports; empty if its gateway cannot sign."""
    report_nonce: Mapped[str] = mapped_column(_ID, default="")
    """The nonce for its next version report, hex; empty until one is asked for."""
    nonce_expires_at: Mapped[float] = mapped_column(default=0.0)
    used_nonce: Mapped[str] = mapped_column(_ID, default="")
    """Of the last accepted report."""
    used_report_sha256: Mapped[str] = mapped_column(_SHA256, default="")
    dropped_reports: Mapped[int] = mapped_column(default=0)
    dropped_reason: Mapped[str] = mapped_column(Text, default="")
    """Of the last dropped report."""
    two_reporters: Mapped[bool] = mapped_column(default=False)
    attributes: Mapped[str] = mapped_column(Text, default="{}")
    """JSON: the operator's own facts, such as region and model year, by name (``vehicle_filter``)."""


class EcuRow(Base):
    """An ECU as registered, and what it runs according to the last report."""

    __tablename__ = "ecus"
    vin: Mapped[str] = mapped_column(_ID, ForeignKey("vehicles.vin"), primary_key=True)
    ecu: Mapped[str] = mapped_column(_ID, primary_key=True)
    position: Mapped[int]  # in the order of registration, in which ECUs are shown
    serial: Mapped[str] = mapped_column(Text)
    hardware_id: Mapped[str] = mapped_column(_ID)
    software_version: Mapped[str] = mapped_column(_ID, default="")
    # The counter has 32 bits without a sign, and PostgreSQL's integer has 31 bits and a sign.
    security_counter: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    public_key: Mapped[str] = mapped_column(_SHA256, default="")
    """X25519 key, hex; empty if artifacts cannot be encrypted for this ECU."""
    image_number: Mapped[int]
    """The number that dependencies of other ECUs' images use for this ECU."""
    takes_programs: Mapped[bool] = mapped_column(default=False)
    """Whether it takes program files instead of MCUboot images."""
    takes_patches: Mapped[bool] = mapped_column(default=True)
    version_order: Mapped[str] = mapped_column(String(16), default="semver")
    known_versions: Mapped[str] = mapped_column(Text, default="[]")
    """JSON: all versions, the oldest first, for the order ``list``."""
    report_key: Mapped[str] = mapped_column(_SHA256, default="")
    """Ed25519 key, hex, that verifies its version reports; empty if it cannot sign."""
    report_counter: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of its last accepted version report."""


class ImageRow(Base):
    """A verified image or program file in the artifact store."""

    __tablename__ = "images"
    # The digest of the file alone is not enough: the same program file may be sent to two kinds of ECUs, or under another version.
    image_id: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    """``Firmware.image_id``; for an MCUboot image the digest of the file."""
    sha256: Mapped[str] = mapped_column(_SHA256)
    hardware_id: Mapped[str] = mapped_column(_ID, index=True)
    version: Mapped[str] = mapped_column(_ID)
    security_counter: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    stored_at: Mapped[float]
    is_public: Mapped[bool] = mapped_column(default=True)
    """False: only encrypted campaigns use the image, and the artifact server does not serve it."""
    dependencies: Mapped[str] = mapped_column(Text, default="[]")
    """JSON: pairs of image number and minimum version."""
    payload: Mapped[str] = mapped_column(Text, default="")
    """JSON of a ``PayloadCustom``, for a program file; empty for an MCUboot image."""
    rxswin: Mapped[str] = mapped_column(_ID, default="", index=True)
    """The RXSWIN that the image states (UN R156); empty: none. All rows with one RXSWIN are its entry in the register."""


class PatchRow(Base):
    """A patch from one image to another. ``path`` is empty for a patch that was too large and is not stored."""

    __tablename__ = "patches"
    # Patches are made of MCUboot images only, whose identifiers are their digests.
    base_sha256: Mapped[str] = mapped_column(_SHA256, ForeignKey("images.image_id"), primary_key=True)
    target_sha256: Mapped[str] = mapped_column(_SHA256, ForeignKey("images.image_id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(_SHA256)
    length: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    is_public: Mapped[bool] = mapped_column(default=True)
    """As ``ImageRow.is_public``."""


class EncryptedRow(Base):
    """An encrypted file: its plain image or patch (by digest), and the key of its ECU."""

    __tablename__ = "encrypted_artifacts"
    # This cannot be a foreign key, because the digest belongs to an image or to a patch.
    plain_sha256: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    public_key: Mapped[str] = mapped_column(_SHA256, primary_key=True)
    sha256: Mapped[str] = mapped_column(_SHA256)
    length: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)


class CampaignRow(Base):
    """A campaign as the operator created it."""

    __tablename__ = "campaigns"
    campaign_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    release_notes: Mapped[str] = mapped_column(Text)
    transfer: Mapped[str] = mapped_column(String(16))
    manifest_lifetime_s: Mapped[float]
    approval_timeout_s: Mapped[float]
    encrypt: Mapped[bool] = mapped_column(default=False)
    conditions: Mapped[str] = mapped_column(Text, default="[]")
    """JSON: the texts of the vehicle's conditions (``proto.conditions``)."""
    texts: Mapped[str] = mapped_column(Text, default="{}")
    """JSON: what the driver reads, by language (``proto.driver_texts``)."""
    driver_rules: Mapped[str] = mapped_column(Text, default="{}")
    """JSON: what the driver may decide (``proto.driver_rules``)."""
    conditions_limit_s: Mapped[float] = mapped_column(default=0.0)
    """0: the default."""
    created_at: Mapped[float]
    request_id: Mapped[str | None] = mapped_column(_ID, unique=True, index=True)
    """The caller's id of the request (idempotency key); None if it gave none."""
    request_sha256: Mapped[str] = mapped_column(_SHA256, default="")
    """The digest of the whole request, by which a repetition is told from another request with the same id."""
    excluded: Mapped[str] = mapped_column(Text, default="[]")
    """JSON: pairs of VIN and reason, of the vehicles that the campaign left out."""
    created_by: Mapped[str] = mapped_column(Text, default="")
    """The subject of the operator's certificate."""
    needs_approval: Mapped[bool] = mapped_column(default=False)
    approved_by: Mapped[str] = mapped_column(Text, default="")
    """The subject of the approver's certificate; empty: nobody has approved the campaign."""
    approved_at: Mapped[float] = mapped_column(default=0.0)
    rollout: Mapped[str] = mapped_column(Text, default="")
    """JSON of a ``rollout.rules.Rollout``; empty: all vehicles were offered their job at once."""
    rollout_progress: Mapped[str] = mapped_column(Text, default="")
    """JSON of a ``rollout.rules.Progress``, which changes by compare-and-set."""
    rollout_open: Mapped[bool] = mapped_column(default=False)
    """Whether the roll-out has jobs that are still to be opened."""


class CampaignImageRow(Base):
    """One image of a campaign, and the base image that came with it, if any."""

    __tablename__ = "campaign_images"
    campaign_id: Mapped[str] = mapped_column(_ID, ForeignKey("campaigns.campaign_id"), primary_key=True)
    hardware_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    image_id: Mapped[str] = mapped_column(_SHA256, ForeignKey("images.image_id"))
    base_sha256: Mapped[str | None] = mapped_column(_SHA256, ForeignKey("images.image_id"))


class JobRow(Base):
    """A job: one vehicle's part of a campaign."""

    __tablename__ = "jobs"
    # Two replicas may judge a vehicle at the same moment, and both find it free. The index refuses the second job.
    __table_args__ = (
        Index(
            "one_open_job_per_vehicle",
            "vin",
            unique=True,
            sqlite_where=text(IS_OPEN),
            postgresql_where=text(IS_OPEN),
        ),
    )
    job_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(_ID, ForeignKey("campaigns.campaign_id"), index=True)
    vin: Mapped[str] = mapped_column(_ID, ForeignKey("vehicles.vin"), index=True)
    position: Mapped[int]
    # Text instead of an enumeration, so that a new state does not change a table.
    state: Mapped[str] = mapped_column(String(32), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    taken_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """The highest transition number that was applied (``job_rules``)."""
    offered: Mapped[bool] = mapped_column(default=False)
    """Whether a check-in was ever answered with this job."""
    held: Mapped[bool] = mapped_column(default=False)
    """Whether the job must not be offered: its campaign waits for an approver, or its wave is not open."""
    wave: Mapped[int] = mapped_column(default=0)
    """The wave of the campaign's roll-out, counted from 0."""
    opened_at: Mapped[float] = mapped_column(default=0.0)
    """When the roll-out has opened it; 0: not yet, or there is no roll-out."""
    cancel_asked: Mapped[bool] = mapped_column(default=False)
    cancel_reason: Mapped[str] = mapped_column(Text, default="")
    details: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """An ``ota.v1.Job`` that holds only the last progress and the last reports."""
    unproven: Mapped[int] = mapped_column(default=0)
    """How often its success was claimed without an acceptable version report."""
    updated_at: Mapped[float]


class TransitionRow(Base):
    """One transition of a job; ``number`` counts from 1."""

    __tablename__ = "transitions"
    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.job_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    before: Mapped[str] = mapped_column(String(32))
    after: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[float]


class ManifestRow(Base):
    """A signed manifest. Every version of every vehicle is kept."""

    __tablename__ = "manifests"
    vin: Mapped[str] = mapped_column(_ID, ForeignKey("vehicles.vin"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.job_id"), index=True)
    made_for: Mapped[str] = mapped_column(Text)
    """JSON: what the vehicle's ECUs ran when the manifest was made (``manifests``)."""
    expires_at: Mapped[float]
    timestamp: Mapped[bytes] = mapped_column(LargeBinary)
    snapshot: Mapped[bytes] = mapped_column(LargeBinary)
    targets: Mapped[bytes] = mapped_column(LargeBinary)


class OutboxRow(Base):
    """A message to the broker that was not acknowledged yet. It is written in the transaction of the change that it announces."""

    __tablename__ = "outbox"
    # SQLite counts up by itself only with this very type.
    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    topic: Mapped[str] = mapped_column(Text)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[float]
    """From then on the message is not worth sending: the vehicle has polled long since."""
    claimed_until: Mapped[float] = mapped_column(default=0.0)
    """Until then one control plane is sending the message, and the others leave it alone."""


class ImageMetadataRow(Base):
    """A file of the Image repository as it is published now: Targets, Snapshot, Timestamp."""

    __tablename__ = "image_metadata"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    """As a TUF client requests it."""
    version: Mapped[int]
    """Of the Snapshot that lists it."""
    content: Mapped[bytes] = mapped_column(LargeBinary)
