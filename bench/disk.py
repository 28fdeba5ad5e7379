"""What the disk can do, as fio measures it: the ceiling of everything durable."""
import json
import subprocess


def fio(folder, seconds, size, extra=()):
    """Sequential writes of `size` bytes, each followed by fdatasync: writes a second, bytes a second, latencies."""
    done = subprocess.run(["fio", "--name=bench", f"--directory={folder}", "--ioengine=sync", "--rw=write", f"--bs={size}",
                           "--fdatasync=1", "--size=1g", "--time_based", f"--runtime={seconds}", "--fallocate=none",
                           "--unlink=1", "--output-format=json", *extra], capture_output=True, text=True, check=True)
    job = json.loads(done.stdout)["jobs"][0]
    percentiles = job["sync"]["lat_ns"].get("percentile", {})
    return {"per_second": job["write"]["iops"], "bytes_per_second": job["write"]["bw_bytes"],
            "p50_us": percentiles.get("50.000000", 0) / 1000, "p99_us": percentiles.get("99.000000", 0) / 1000,
            "p999_us": percentiles.get("99.900000", 0) / 1000}


def free_bytes(folder):
    import shutil
    return shutil.disk_usage(folder).free
