"""What the command sweep adds to the driver: execution, plan, job, progress."""
