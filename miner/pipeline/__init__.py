"""Running a job: its stages in order."""
