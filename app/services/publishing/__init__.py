"""Publishing catalogs: files of many formats -> tables that can be queried."""
