"""Linear operators, Krylov methods and damped least squares; nothing here knows an objective."""
