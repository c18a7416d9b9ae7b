"""What each command does. `factory/__main__.py` names them and imports a module of this room only when it is needed."""
