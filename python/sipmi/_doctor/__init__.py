"""What :func:`sipmi.doctor` looks at: a file for each transport, one for what this machine knows."""
