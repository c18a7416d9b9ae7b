"""What people see. Each page opens the frame, reads choices, calls one function, draws the answer."""
