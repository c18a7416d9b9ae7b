"""What a run leaves behind: kept, evaluated, talked to, exported."""
