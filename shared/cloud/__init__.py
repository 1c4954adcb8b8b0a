"""How Azure is asked: the only room that imports an Azure SDK. Each module implements one port of `shared.ports`."""
