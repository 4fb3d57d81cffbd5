/*
 * layer/drivers.h: the store drivers that store_open chooses from. Only store.c includes it, and
 * the driver itself.
 */
#ifndef LAYER_DRIVERS_H
#define LAYER_DRIVERS_H

#include "layer/layer.h"

extern const struct store_driver probackup_driver;

#endif
