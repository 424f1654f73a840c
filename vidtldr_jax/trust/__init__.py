"""What every room relies on where bytes come from elsewhere or go to a disk or a terminal; imports nothing of ours."""
