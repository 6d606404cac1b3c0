"""Program ECUs by UDS: the gateway's ``Vehicle`` on a real bus.

    vehicle = UdsVehicle(config, trace)
    vehicle.stage(images, job_id=job_id, progress=print, cancel=threading.Event(), fetch_image=download)
    vehicle.activate(images, job_id=job_id, progress=print)
    vehicle.verify(images, job_id=job_id, progress=print)
    vehicle.confirm(images, job_id=job_id, progress=print)
    vehicle.finish(job_id=job_id)

``probe`` reads the identity of one ECU. The order of the requests is data (``bench/uds/profiles``,
``bench/uds/sequence``).
"""

from otabench.bench.gateway.flashing.probing import probe
from otabench.bench.gateway.flashing.uds_vehicle import UdsVehicle

__all__ = ["UdsVehicle", "probe"]
