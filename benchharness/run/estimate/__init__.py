"""What a plan will ask of this machine: memory and time, counted from shapes and measured speed."""
