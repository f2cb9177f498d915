"""What every room stands on: errors, logs, time, durable writes, worker processes, secrets kept out of sight."""
