"""Azure on this laptop: what the app needs of the cloud, without the cloud. Never deployed."""
