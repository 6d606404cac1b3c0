-- The tables of version 5, as a cloud of that version made them on SQLite.
CREATE TABLE campaigns (
	campaign_id VARCHAR(64) NOT NULL,
	name TEXT NOT NULL,
	release_notes TEXT NOT NULL,
	transfer VARCHAR(16) NOT NULL,
	manifest_lifetime_s DOUBLE NOT NULL,
	approval_timeout_s DOUBLE NOT NULL,
	encrypt BOOLEAN NOT NULL,
	conditions TEXT NOT NULL,
	conditions_limit_s DOUBLE NOT NULL,
	created_at DOUBLE NOT NULL,
	PRIMARY KEY (campaign_id)
);
CREATE TABLE encrypted_artifacts (
	plain_sha256 VARCHAR(64) NOT NULL,
	public_key VARCHAR(64) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	length BIGINT NOT NULL,
	path TEXT NOT NULL,
	PRIMARY KEY (plain_sha256, public_key)
);
CREATE TABLE images (
	image_id VARCHAR(64) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	hardware_id VARCHAR(64) NOT NULL,
	version VARCHAR(64) NOT NULL,
	security_counter BIGINT NOT NULL,
	length BIGINT NOT NULL,
	path TEXT NOT NULL,
	stored_at DOUBLE NOT NULL,
	is_public BOOLEAN NOT NULL,
	dependencies TEXT NOT NULL,
	payload TEXT NOT NULL,
	PRIMARY KEY (image_id)
);
CREATE INDEX ix_images_hardware_id ON images (hardware_id);
CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	PRIMARY KEY (version)
);
CREATE TABLE vehicles (
	vin VARCHAR(64) NOT NULL,
	PRIMARY KEY (vin)
);
CREATE TABLE campaign_images (
	campaign_id VARCHAR(64) NOT NULL,
	hardware_id VARCHAR(64) NOT NULL,
	image_id VARCHAR(64) NOT NULL,
	base_sha256 VARCHAR(64),
	PRIMARY KEY (campaign_id, hardware_id),
	FOREIGN KEY(campaign_id) REFERENCES campaigns (campaign_id),
	FOREIGN KEY(image_id) REFERENCES images (image_id),
	FOREIGN KEY(base_sha256) REFERENCES images (image_id)
);
CREATE TABLE ecus (
	vin VARCHAR(64) NOT NULL,
	ecu VARCHAR(64) NOT NULL,
	position INTEGER NOT NULL,
	serial TEXT NOT NULL,
	hardware_id VARCHAR(64) NOT NULL,
	software_version VARCHAR(64) NOT NULL,
	security_counter BIGINT,
	report BLOB NOT NULL,
	public_key VARCHAR(64) NOT NULL,
	image_number INTEGER NOT NULL,
	takes_programs BOOLEAN NOT NULL,
	takes_patches BOOLEAN NOT NULL,
	version_order VARCHAR(16) NOT NULL,
	known_versions TEXT NOT NULL,
	PRIMARY KEY (vin, ecu),
	FOREIGN KEY(vin) REFERENCES vehicles (vin)
);
CREATE TABLE jobs (
	job_id VARCHAR(64) NOT NULL,
	campaign_id VARCHAR(64) NOT NULL,
	vin VARCHAR(64) NOT NULL,
	position INTEGER NOT NULL,
	state VARCHAR(32) NOT NULL,
	reason TEXT NOT NULL,
	taken_seq BIGINT NOT NULL,
	offered BOOLEAN NOT NULL,
	cancel_asked BOOLEAN NOT NULL,
	cancel_reason TEXT NOT NULL,
	details BLOB NOT NULL,
	updated_at DOUBLE NOT NULL,
	PRIMARY KEY (job_id),
	FOREIGN KEY(campaign_id) REFERENCES campaigns (campaign_id),
	FOREIGN KEY(vin) REFERENCES vehicles (vin)
);
CREATE INDEX ix_jobs_campaign_id ON jobs (campaign_id);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_jobs_vin ON jobs (vin);
CREATE TABLE patches (
	base_sha256 VARCHAR(64) NOT NULL,
	target_sha256 VARCHAR(64) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	length BIGINT NOT NULL,
	path TEXT NOT NULL,
	is_public BOOLEAN NOT NULL,
	PRIMARY KEY (base_sha256, target_sha256),
	FOREIGN KEY(base_sha256) REFERENCES images (image_id),
	FOREIGN KEY(target_sha256) REFERENCES images (image_id)
);
CREATE TABLE manifests (
	vin VARCHAR(64) NOT NULL,
	version INTEGER NOT NULL,
	job_id VARCHAR(64) NOT NULL,
	made_for TEXT NOT NULL,
	expires_at DOUBLE NOT NULL,
	timestamp BLOB NOT NULL,
	snapshot BLOB NOT NULL,
	targets BLOB NOT NULL,
	PRIMARY KEY (vin, version),
	FOREIGN KEY(vin) REFERENCES vehicles (vin),
	FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
CREATE INDEX ix_manifests_job_id ON manifests (job_id);
CREATE TABLE transitions (
	job_id VARCHAR(64) NOT NULL,
	number INTEGER NOT NULL,
	"before" VARCHAR(32) NOT NULL,
	"after" VARCHAR(32) NOT NULL,
	reason TEXT NOT NULL,
	at DOUBLE NOT NULL,
	PRIMARY KEY (job_id, number),
	FOREIGN KEY(job_id) REFERENCES jobs (job_id)
);
